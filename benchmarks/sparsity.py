"""Sparse Jacobians by groups of columns, as everybody without sparsity of its own has to do it.

Columns that share no row form a group; one derivative in the direction of a group's sum gives all
of its columns at once (A. R. Curtis, M. J. D. Powell and J. K. Reid, 1974).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Pattern"]


@dataclass(frozen=True)
class Pattern:
    """Where the nonzeros are, and which columns are taken together.

    Parameters
    ----------
    rows, columns : ndarray of int, shape (nonzeros,)
        The places, in the order in which nonzeros are given.
    groups : ndarray of int, shape (n,)
        The group of each column.
    """

    rows: np.ndarray
    columns: np.ndarray
    groups: np.ndarray

    @property
    def seeds(self) -> np.ndarray:
        """The direction of each group, shape (groups, n)."""
        return np.eye(int(self.groups.max()) + 1)[:, self.groups]

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the nonzeros are among the derivatives in the directions of the seeds."""
        return self.groups[self.columns], self.rows

    @property
    def transposed_places(self) -> tuple[np.ndarray, np.ndarray]:
        """The same among the products with the seeds from the left.

        The pattern has to be symmetric: then columns of a group share no row, nor rows a column.
        """
        return self.groups[self.rows], self.columns

    def check(self) -> None:
        """Raise ValueError where two columns of a group share a row, or rows a column."""
        for taken in (self.places, self.transposed_places):
            if len(set(zip(*(part.tolist() for part in taken), strict=True))) < self.rows.size:
                raise ValueError("two columns of one group share a row")
