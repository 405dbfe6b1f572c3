"""Build the kernels: Cython modules from `kernels/`, and C loops made from the table of rows."""

import importlib.util
import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
KERNELS = sorted(path.stem for path in (ROOT / "kernels").glob("*.pyx"))
# Derivative loops must not contract a*b + c: forward and reverse use them alike.
FLAGS = ["-O3", "-fno-math-errno", "-ffp-contract=off", "-fno-trapping-math"]


def load(path: Path):
    """Import a file by its path: the build must not import the package that it builds."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class BuildKernels(build_ext):
    """Generates `elementwise.h` from the table before compiling what includes it."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self):
        generated = Path(self.build_temp) / "generated"
        generated.mkdir(parents=True, exist_ok=True)
        load(ROOT / "kernels" / "generate.py").generate(
            ROOT / "autodiff" / "primitives" / "table.py", generated / "elementwise.h"
        )
        for extension in self.extensions:
            extension.include_dirs.append(str(generated))
            if self.compiler.compiler_type != "msvc":
                extension.extra_compile_args += FLAGS
        super().build_extensions()


extensions = [
    Extension(
        f"autodiff._kernels.{name}",
        [f"kernels/{name}.pyx"],
        include_dirs=[numpy.get_include(), "."],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        depends=["autodiff/primitives/table.py", "kernels/generate.py"] if name == "loops" else [],
    )
    for name in KERNELS
]

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["."],
        build_dir="build/cython",
        compiler_directives={"language_level": 3},
    ),
    cmdclass={"build_ext": BuildKernels},
)
