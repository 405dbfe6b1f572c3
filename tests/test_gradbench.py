"""GradBench: the messages, and every evaluation against an independent derivative."""

import importlib
import io
import json
import warnings
from functools import lru_cache

import numpy as np
import pytest

import autodiff
from benchmarks.gradbench.problems import ba, det, gmm, ht, llsq, lstm, ode, particle
from benchmarks.gradbench.protocol import PROBLEMS, TOOLS, Tool, problem, serve
from benchmarks.gradbench.runner import difference, main
from benchmarks.gradbench.tools import with_autodiff
from benchmarks.rivals import KNOWN

SIZES = {
    "hello": 3, "gmm": 3, "ba": 40, "ht": 6, "lstm": 5, "kmeans": 300, "lse": 20, "llsq": 16,
    "det": 4, "ode": 5,
}  # fmt: skip


def ask(name, function, given, tool="autodiff"):
    answering = Tool(tool)
    assert answering.answer({"id": 0, "kind": "define", "module": name})["success"]
    message = {"id": 1, "kind": "evaluate", "module": name, "function": function, "input": given}
    answer = answering.answer(message)
    assert answer.get("success"), answer
    json.dumps(answer)
    return answer


def sample(name, size=None):
    given = problem(name).sample(SIZES[name] if size is None else size)
    if name == "llsq":
        given["x"] = given["x"][:6]
    return given


def central(f, x, h=1e-5):
    """Central differences of a function of one array."""
    flat = np.array(x, float)
    slopes = []
    for i in np.ndindex(flat.shape):
        above, below = flat.copy(), flat.copy()
        above[i] += h
        below[i] -= h
        slopes.append((np.asarray(f(above)) - np.asarray(f(below))) / (2 * h))
    return np.array(slopes).reshape(flat.shape + np.shape(slopes[0]))


# ---------------------------------------------------------------------------------- the messages


def test_every_message_is_answered():
    messages = [
        {"id": 0, "kind": "start", "eval": "lse", "config": {"n": 2}},
        {"id": 1, "kind": "define", "module": "lse"},
        {
            "id": 2, "kind": "evaluate", "module": "lse", "function": "gradient",
            "input": {"x": [0.0, 0.0], "min_runs": 3, "min_seconds": 0}, "description": "two",
        },
        {"id": 3, "kind": "evaluate", "module": "lse", "function": "nothing", "input": {}},
        {"id": 4, "kind": "define", "module": "unheard of"},
        {"id": 5, "kind": "analysis", "of": 2, "valid": True},
        {"id": 6, "kind": "evaluate", "module": "gmm", "function": "objective", "input": {}},
        {"id": 7, "kind": "evaluate", "module": "lse", "function": "primal", "input": {"y": 1}},
    ]  # fmt: skip
    output = io.StringIO()
    serve(io.StringIO("\n".join(json.dumps(m) + "\n" for m in messages)), output)
    answers = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [answer["id"] for answer in answers] == list(range(8))
    assert answers[0]["tool"] == "autodiff"
    np.testing.assert_allclose(answers[2]["output"], [0.5, 0.5], rtol=1e-15)
    assert answers[5] == {"id": 5}
    for number, word in ((3, "nothing"), (4, "unheard of"), (6, "gmm"), (7, "x")):
        assert answers[number]["success"] is False and word in answers[number]["error"]


@pytest.mark.parametrize(
    "given, runs",
    [({}, 1), ({"min_runs": 4}, 4), ({"runs": 3}, 3), ({"min_runs": 2, "min_seconds": 0.0}, 2)],
)
def test_each_run_has_a_time(given, runs):
    timings = ask("lse", "primal", {"x": [1.0, 2.0], **given})["timings"]
    assert [t["name"] for t in timings].count("evaluate") == runs
    assert all(isinstance(t["nanoseconds"], int) for t in timings)


def test_runs_go_on_for_the_seconds_asked_for():
    timings = ask("lse", "primal", {"x": [1.0, 2.0], "min_runs": 1, "min_seconds": 0.02})["timings"]
    spent = [t["nanoseconds"] for t in timings if t["name"] == "evaluate"]
    assert len(spent) > 1 and sum(spent) >= 0.02e9


# --------------------------------------------------------------------------------- the functions


def test_hello():
    assert ask("hello", "square", 3.0)["output"] == 9.0
    assert ask("hello", "double", 3.0)["output"] == 6.0


def test_gmm_is_the_product_of_densities():
    """The objective is the logarithm of what the evaluation defines, multiplied out."""
    from scipy.stats import multivariate_normal, wishart

    generator = np.random.default_rng(3)
    d, k, n, extra, gamma = 3, 2, 4, 2, 1.3
    given = {
        "d": d, "k": k, "n": n, "gamma": gamma, "m": extra,
        "alpha": generator.normal(size=k), "mu": generator.normal(size=(k, d)),
        "q": 0.3 * generator.normal(size=(k, d)), "l": generator.normal(size=(k, 3)),
        "x": generator.normal(size=(n, d)),
    }  # fmt: skip
    weights = np.exp(given["alpha"]) / np.sum(np.exp(given["alpha"]))
    likelihood, prior = np.zeros(n), 0.0
    for weight, mean, q, lower in zip(weights, given["mu"], given["q"], given["l"], strict=True):
        factor = np.diag(np.exp(q))
        factor[np.triu_indices(d, 1)[::-1]] = lower
        precision = factor.T @ factor
        likelihood += weight * multivariate_normal(mean, np.linalg.inv(precision)).pdf(given["x"])
        prior += wishart(d + extra + 1, np.eye(d) / gamma**2).logpdf(precision)
    expected = np.sum(np.log(likelihood)) + prior
    given = {key: np.asarray(value).tolist() for key, value in given.items()}
    assert ask("gmm", "objective", given)["output"] == pytest.approx(expected, rel=1e-12)


def test_gmm_gradient_in_both_forms():
    given = sample("gmm")
    arrays = gmm.read(given)
    newer = ask("gmm", "jacobian", given)["output"]
    for k, name in enumerate(("alpha", "mu", "q", "l")):

        def f(part, k=k):
            return gmm.objective(np, *arrays[:k], part, *arrays[k + 1 :])

        np.testing.assert_allclose(newer[name], central(f, arrays[k]), rtol=1e-6, atol=1e-4)
    older = dict(given)
    factors = np.concatenate([older.pop("q"), older.pop("l")], 1)
    older |= {"means": older.pop("mu"), "icf": factors.tolist()}
    flat = ask("gmm", "jacobian", older)["output"]
    rows = np.concatenate([newer["q"], newer["l"]], 1)
    expected = np.concatenate([newer["alpha"], np.ravel(newer["mu"]), np.ravel(rows)])
    np.testing.assert_allclose(flat, expected, rtol=1e-12)


def test_ba_is_the_sparse_jacobian():
    """Against central differences of the whole function in the whole vector of parameters."""
    given = {**sample("ba"), "n": 3, "m": 4, "p": 12}
    cameras, points, weights, features, observed = ba.read(given)
    generator = np.random.default_rng(1)
    for array in (cameras, points, weights, features):
        array += 0.1 * generator.normal(size=array.shape)

    def whole(v):
        c, x = v[:33].reshape(3, 11), v[33:45].reshape(4, 3)
        w = v[45:]
        e = ba.reprojection(np, c[observed[:, 0]], x[observed[:, 1]], w, features)
        return np.concatenate([e.ravel(), ba.weight_error(w)])

    from benchmarks.gradbench.tools.with_autodiff import EVALUATIONS

    ready = EVALUATIONS["ba"]["jacobian"]
    rows, cols, vals = ready(cameras, points, weights, features, observed)()
    dense = np.zeros((36, 57))
    for i in range(36):
        dense[i, cols[rows[i] : rows[i + 1]]] = vals[rows[i] : rows[i + 1]]
    expected = central(whole, np.concatenate([cameras.ravel(), points.ravel(), weights])).T
    np.testing.assert_allclose(dense, expected, rtol=1e-5, atol=1e-7 * np.max(np.abs(expected)))


def test_ba_is_written_without_repetitions():
    given = sample("ba")
    objective = ask("ba", "objective", given)["output"]
    assert objective["reproj_error"]["repeated"] == objective["w_err"]["repeated"] == 40
    assert len(objective["reproj_error"]["elements"]) == 2
    assert objective["w_err"]["element"] == pytest.approx(1.0 - 0.8**2)
    jacobian = ask("ba", "jacobian", given)["output"]
    assert [len(jacobian[name]) for name in ("rows", "cols", "vals")] == [31, 31, 31]
    assert jacobian["rows"][-1] == 31 * 40
    assert jacobian["vals"][-1] == pytest.approx(-2 * 0.8)


@pytest.mark.parametrize("simple", [False, True])
def test_ht_jacobian(simple):
    given = sample("ht")
    if simple:
        given["us"] = []
    hand, theta, us = ht.read(given)
    output = np.array(ask("ht", "jacobian", given)["output"])
    expected = np.moveaxis(central(lambda t: ht.distances(np, hand, t, us), theta), 0, -1)
    own = 0 if simple else 2
    assert output.shape == (18, own + 26)
    np.testing.assert_allclose(output[:, own:], expected.reshape(18, 26), rtol=1e-6, atol=1e-8)
    if not simple:
        slopes = central(lambda u: ht.distances(np, hand, theta, u), us)
        for k in range(6):
            np.testing.assert_allclose(output[3 * k : 3 * k + 3, :2], slopes[k, :, k].T, rtol=1e-7)
    errors = ask("ht", "objective", given)["output"]
    np.testing.assert_allclose(errors, ht.distances(np, hand, theta, us).ravel(), rtol=1e-12)


def test_ht_turns_as_matrices_do():
    """Two bones, one vertex: the product of the rotations that the evaluation names."""
    given = sample("ht", 1)
    model = given["data"]["model"]
    bones = len(model["parents"])
    model |= {
        "parents": [-1, 0] + [0] * (bones - 2),
        "base_relatives": [np.eye(4).tolist()] * bones,
        "inverse_base_absolutes": [np.eye(4).tolist()] * bones,
        "weights": np.eye(bones)[[2]].tolist(),
        "base_positions": [[0.3, -0.2, 0.9, 1.0]],
        "is_mirrored": True,
    }
    given["data"] |= {"correspondences": [0], "points": [[0.0, 0.0, 0.0]]}
    given["us"] = []
    turn, (x, z) = np.array([0.2, -0.4, 0.1]), (0.5, 0.7)
    given["theta"] = [*turn, 1.0, 2.0, 3.0, x, z, *[0.0] * 18]
    from scipy.spatial.transform import Rotation

    finger = Rotation.from_euler("z", z) * Rotation.from_euler("x", x)
    place = finger.apply([0.3, -0.2, 0.9]) * [-1.0, 1.0, 1.0]
    expected = -(Rotation.from_rotvec(turn).apply(place) + [1.0, 2.0, 3.0])
    np.testing.assert_allclose(ask("ht", "objective", given)["output"], expected, rtol=1e-12)


def test_lstm_gradient():
    given = sample("lstm")
    main_, extra, state, sequence = lstm.read(given)
    gradient = np.array(ask("lstm", "jacobian", given)["output"])
    of_main = central(lambda p: lstm.loss(np, p, extra, state, sequence), main_)
    of_extra = central(lambda p: lstm.loss(np, main_, p, state, sequence), extra)
    np.testing.assert_allclose(
        gradient, np.concatenate([of_main.ravel(), of_extra.ravel()]), rtol=1e-6, atol=1e-10
    )


def test_kmeans_direction_is_towards_the_mean():
    """Newton's step of a quadratic: from each centroid to the mean of its points."""
    given = sample("kmeans")
    points, centroids = np.array(given["points"]), np.array(given["centroids"])
    nearest = np.argmin(np.sum((points[:, None] - centroids) ** 2, -1), 1)
    means = np.array([points[nearest == k].mean(0) for k in range(len(centroids))])
    cost = np.sum((points - centroids[nearest]) ** 2)
    assert ask("kmeans", "cost", given)["output"] == pytest.approx(cost, rel=1e-12)
    output = ask("kmeans", "dir", given)["output"]
    np.testing.assert_allclose(output, centroids - means, rtol=1e-9, atol=1e-12)


def test_llsq():
    given = sample("llsq")
    x, n = llsq.read(given)
    t = -1.0 + np.arange(n) * 2.0 / (n - 1)
    residuals = np.sign(t) - np.polynomial.polynomial.polyval(t, x)
    assert ask("llsq", "primal", given)["output"] == pytest.approx(0.5 * residuals @ residuals)
    expected = [-np.sum(residuals * t**j) for j in range(len(x))]
    np.testing.assert_allclose(ask("llsq", "gradient", given)["output"], expected, rtol=1e-10)


def test_lse():
    x = np.array(sample("lse")["x"])
    given = {"x": x.tolist()}
    assert ask("lse", "primal", given)["output"] == pytest.approx(np.log(np.sum(np.exp(x))))
    expected = np.exp(x) / np.sum(np.exp(x))
    np.testing.assert_allclose(ask("lse", "gradient", given)["output"], expected, rtol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_det(n):
    given = sample("det", n)
    (a,) = det.read(given)
    assert ask("det", "primal", given)["output"] == pytest.approx(np.linalg.det(a), rel=1e-10)
    expected = np.linalg.det(a) * np.linalg.inv(a).T
    np.testing.assert_allclose(ask("det", "gradient", given)["output"], expected.ravel(), rtol=1e-9)


def test_ode():
    given = sample("ode")
    x, steps = ode.read(given)
    y = np.array(ask("ode", "primal", given)["output"])
    # The equations have a closed form, a power of t; steps of order four come near it.
    exact = [np.prod(x[: i + 1]) * 2.0 ** (i + 1) / np.prod(np.arange(1, i + 2)) for i in range(4)]
    np.testing.assert_allclose(y[:4], exact, rtol=1e-10)
    expected = central(lambda x: ode.final(np, x, steps)[-1], x)
    np.testing.assert_allclose(ask("ode", "gradient", given)["output"], expected, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("mode", problem("saddle").functions)
def test_saddle(mode):
    """The result that GradBench expects, to the last digits: it is that of a sequence of steps."""
    output = ask("saddle", mode, {"start": [1.0, 1.0]})["output"]
    np.testing.assert_allclose(output, [8.246324826140356e-06] * 4, rtol=1e-12)


@pytest.mark.slow
def test_particle():
    assert ask("particle", "fr", {"w": 0.0})["output"] == pytest.approx(
        0.2071918746486116, rel=1e-12
    )


@pytest.mark.parametrize("mode", problem("particle").functions)
def test_gradient_of_the_particles_miss(mode):
    """Each mode, at one parameter: the whole minimization takes thousands of gradients."""
    outer, inner = (with_autodiff.GRADIENTS[letter] for letter in mode)
    (found,) = outer(lambda w: particle.miss(inner, w[0]), [0.1])
    step = 1e-5
    ahead, behind = (particle.miss(inner, w) for w in (0.1 + step, 0.1 - step))
    assert found == pytest.approx((ahead - behind) / (2 * step), rel=1e-7)


# --------------------------------------------------------------------------------- other tools


@lru_cache
def ours(name, function):
    return ask(name, function, sample(name))["output"]


def tool_or_slow(tool):
    return pytest.param(tool, marks=[pytest.mark.slow] if tool in KNOWN else [])


@pytest.mark.parametrize("tool", [tool_or_slow(name) for name in TOOLS if name != "autodiff"])
def test_tools_agree(tool):
    """Every function that another tool has gives what ours gives, as the runner asks for it."""
    if tool in KNOWN:
        pytest.importorskip(tool)
    module = importlib.import_module(f"benchmarks.gradbench.tools.{TOOLS[tool]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what rivals say about themselves
        for name in sorted(set(module.EVALUATIONS) & set(SIZES)):
            for function in module.EVALUATIONS[name]:
                theirs = ask(name, function, sample(name), tool)["output"]
                error, complaint = difference(ours(name, function), theirs)
                assert not complaint and error <= problem(name).tolerance, (name, function, error)


# ------------------------------------------------------------------------------------- the runner


def test_runner_drives_a_tool(capsys, tmp_path):
    rows = tmp_path / "rows.json"
    arguments = ["lse", "hello", "--size", "8", "--runs", "2", "--seconds", "0"]
    assert main([*arguments, "--json", str(rows)]) == 0
    assert "gradient" in capsys.readouterr().out
    assert {row["function"] for row in json.loads(rows.read_text())} == {
        "primal", "gradient", "square", "double",
    }  # fmt: skip


def test_outputs_are_compared():
    assert difference({"a": [1.0, 2.0]}, {"a": [1.0, 2.0]}) == (0.0, "")
    assert difference([1.0, 2.0], [1.0, 2.5])[0] == 0.25
    assert "shape" in difference([1.0, 2.0], [1.0])[1]
    assert "has" in difference({"a": 1}, {"b": 1})[1]
    assert difference([1.0], [float("nan")])[0] == np.inf


def test_every_problem_has_a_sample_that_json_takes():
    for name in PROBLEMS:
        json.dumps(problem(name).sample(2 if name != "ba" else 20))
    assert autodiff.__version__
