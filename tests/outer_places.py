"""Places that a function reads besides its arguments, and what may happen to them between calls.

Each is the source of a small module with a function ``f(x)`` and a function ``change(k)``, which is
called with 1, 2 and 3. The names ``np``, ``math``, ``jit``, ``grad``, ``vmap`` and ``pytest`` are
there, and ``NS``, which is `types.SimpleNamespace`.
"""

from __future__ import annotations

PLACES = {
    "global": """
        R = 2.0
        def f(x): return x * R
        def change(k): globals().update(R=2.0 + k)
    """,
    "global, type only": """
        R = 2
        def f(x): return np.full(3, R) / 1 if isinstance(R, int) else x
        def change(k): globals().update(R=[2.0, True, 2][k - 1])
    """,
    "global, None to value": """
        R = None
        def f(x): return x if R is None else x * R
        def change(k): globals().update(R=[2.0, None, W][k - 1])
        W = np.arange(3.0)
    """,
    "global defined later": """
        def f(x):
            try:
                return x * LATE
            except NameError:
                return x
        def change(k):
            if k == 2:
                del globals()["LATE"]
            else:
                globals().update(LATE=1.0 + k)
    """,
    "global shadowing a builtin": """
        def f(x): return x * max(1, 2)
        def change(k):
            if k == 2: del globals()["max"]
            else: globals().update(max=lambda *a: 7.0 + k)
    """,
    "global string": """
        MODE = "sin"
        def f(x): return np.sin(x) if MODE == "sin" else np.cos(x)
        def change(k): globals().update(MODE=["cos", "sin", "tan"][k - 1])
    """,
    "function by a string": """
        MODE = "sin"
        def f(x): return getattr(np, MODE)(x)
        def change(k): globals().update(MODE=["cos", "sin", "tanh"][k - 1])
    """,
    "global in one branch": """
        A, B = 2.0, 3.0
        def f(x):
            if x[0] > 1.6: return x * A
            return x * B
        def change(k): globals().update([("A", 7.0), ("B", 8.0), ("A", 9.0)][k - 1:k])
    """,
    "cell": """
        def make():
            r = 2.0
            def f(x): return x * r
            def change(k):
                nonlocal r
                r = 2.0 + k
            return f, change
        f, change = make()
    """,
    "cell of a cell": """
        def make():
            r = 2.0
            def f(x):
                def g(y): return (lambda: y * r)()
                return g(x)
            def change(k):
                nonlocal r
                r = 2.0 + k
            return f, change
        f, change = make()
    """,
    "cell unbound": """
        def make():
            def f(x):
                try: return x * r
                except NameError: return x
            def change(k):
                nonlocal r
                r = 2.0 + k
                if k == 3: del r
            if False: r = 0
            return f, change
        f, change = make()
    """,
    "default": """
        def f(x, r=2.0): return x * r
        def change(k): f.__defaults__ = (2.0 + k,)
        """,
    "default of a callee": """
        def g(x, r=2.0, *, s=[1.0]): return x * r * s[0]
        def f(x): return g(x)
        def change(k):
            if k == 1: g.__defaults__ = (5.0,)
            if k == 2: g.__kwdefaults__["s"][0] = 3.0
            if k == 3: g.__kwdefaults__ = {"s": [9.0]}
    """,
    "code of a callee": """
        def g(x): return x * 2
        def h1(x): return x * 3
        def h2(x): return x * 4
        def h3(x): return x * 5
        def f(x): return g(x)
        def change(k): g.__code__ = [h1, h2, h3][k - 1].__code__
    """,
    "callee monkeypatched": """
        def g(x): return x * 2
        def f(x): return g(x)
        def change(k): globals().update(g=lambda x: x * (3.0 + k))
    """,
    "attribute of a function": """
        def g(x): return x * g.rate
        g.rate = 2.0
        def f(x): return g(x)
        def change(k): g.rate = 2.0 + k
    """,
    "attribute of itself": """
        def f(x): return x * getattr(f, "rate", 2.0) if hasattr(f, "rate") else x * 3
        def change(k): f.rate = 2.0 + k
    """,
    "two deep": """
        cfg = NS(solver=NS(tol=2.0, w=np.ones(3)))
        def f(x): return x * cfg.solver.tol * cfg.solver.w
        def change(k):
            if k == 1: cfg.solver.tol = 5.0
            if k == 2: cfg.solver.w[1] = 5.0
            if k == 3: cfg.solver = NS(tol=8.0, w=np.arange(3.0))
    """,
    "three deep through dict and list": """
        cfg = {"a": [NS(b={"c": 2.0})]}
        def f(x): return x * cfg["a"][0].b["c"]
        def change(k):
            if k == 1: cfg["a"][0].b["c"] = 3.0
            if k == 2: cfg["a"].insert(0, NS(b={"c": 4.0}))
            if k == 3: cfg["a"][0] = NS(b={"c": 5.0})
    """,
    "computed key": """
        params = {f"w{k}": np.full(3, 1.0 + k) for k in range(3)}
        NAME = "w0"
        def f(x): return x * params[NAME]
        def change(k):
            if k == 1: globals().update(NAME="w1")
            if k == 2: params["w1"] = np.arange(3.0)
            if k == 3: params["w1"][0] = 9.0
    """,
    "items and values": """
        params = {"a": 1.0, "b": np.ones(3)}
        def f(x):
            y = x
            for k, v in params.items(): y = y * v
            return y + sum(params.values())
        def change(k):
            if k == 1: params["a"] = 3.0
            if k == 2: params["b"][2] = 3.0
            if k == 3: params["c"] = 2.0
    """,
    "list grows": """
        ws = [np.ones(3)]
        def f(x):
            for w in ws: x = x * w
            return x
        def change(k): ws.append(np.full(3, 1.0 + k))
    """,
    "list of lists": """
        ws = [[1.0, 2.0], [3.0, 4.0]]
        def f(x): return x * sum(sum(w) for w in ws)
        def change(k): ws[k % 2][0] += 1.0
    """,
    "tuple holding a list": """
        t = (1.0, [2.0])
        def f(x): return x * t[1][0]
        def change(k): t[1][0] = 2.0 + k
    """,
    "namedtuple": """
        import collections
        P = collections.namedtuple("P", "a w")
        p = P(2.0, np.ones(3))
        def f(x): return x * p.a * p.w
        def change(k):
            global p
            if k == 1: p = p._replace(a=3.0)
            if k == 2: p.w[0] = 4.0
            if k == 3: p = P(1.0, np.arange(3.0))
    """,
    "dataclass": """
        import dataclasses
        @dataclasses.dataclass
        class P:
            a: float
            w: object
            @property
            def both(self): return self.a * self.w
        p = P(2.0, np.ones(3))
        def f(x): return x * p.both
        def change(k):
            if k == 1: p.a = 3.0
            if k == 2: p.w[0] = 4.0
            if k == 3: p.w = np.arange(3.0)
    """,
    "frozen dataclass with slots": """
        import dataclasses
        @dataclasses.dataclass(frozen=True, slots=True)
        class P:
            a: float
        p = P(2.0)
        def f(x): return x * p.a
        def change(k): globals().update(p=P(2.0 + k))
    """,
    "slots": """
        class P:
            __slots__ = ("a", "__b")
            def __init__(self): self.a, self.__b = 2.0, 3.0
            def set(self, b): self.__b = b
            def run(self, x): return x * self.a * self.__b
        p = P()
        def f(x): return p.run(x)
        def change(k): p.set(5.0 + k)
    """,
    "mangled attribute": """
        class P:
            def __init__(self): self.__b = 3.0
            def set(self, b): self.__b = b
            def run(self, x): return x * self.__b
        p = P()
        def f(x): return p.run(x)
        def change(k): p.set(5.0 + k)
    """,
    "property": """
        class P:
            _r = 2.0
            @property
            def r(self): return self._r * SCALE
        p = P()
        SCALE = 1.0
        def f(x): return x * p.r
        def change(k):
            if k == 1: p._r = 4.0
            if k == 2: globals().update(SCALE=3.0)
            if k == 3: P._r = 8.0; del p._r
    """,
    "cached property": """
        import functools
        class P:
            base = 2.0
            @functools.cached_property
            def r(self): return self.base * 2
        p = P()
        def f(x): return x * p.r
        def change(k):
            if k == 1: p.base = 9.0
            if k == 2: p.__dict__.pop("r", None)
            if k == 3: p.r = 5.0
    """,
    "class attribute": """
        class Base: r = 2.0
        class P(Base): pass
        p = P()
        def f(x): return x * p.r * P.r
        def change(k):
            if k == 1: Base.r = 3.0
            if k == 2: P.r = 4.0
            if k == 3: p.r = 5.0
    """,
    "method replaced on the class": """
        class P:
            def run(self, x): return x * 2
        p = P()
        def f(x): return p.run(x)
        def change(k):
            if k == 1: P.run = lambda self, x: x * 3
            if k == 2: p.run = lambda x: x * 4
            if k == 3: del p.run
    """,
    "method of the parent": """
        class Base:
            def run(self, x): return x * self.r
        class P(Base):
            r = 2.0
            def run(self, x): return super().run(x) + 1
        p = P()
        def f(x): return p.run(x)
        def change(k):
            if k == 1: P.r = 3.0
            if k == 2: Base.run = lambda self, x: x * 7
            if k == 3: P.run = lambda self, x: x * 8
    """,
    "getattr hook": """
        class P:
            def __init__(self): self.store = {"r": 2.0}
            def __getattr__(self, name):
                try: return self.__dict__["store"][name]
                except KeyError: raise AttributeError(name)
        p = P()
        def f(x): return x * p.r
        def change(k): p.store["r"] = 2.0 + k
    """,
    "getitem": """
        class P:
            def __init__(self): self.store = {"r": 2.0}
            def __getitem__(self, name): return self.store[name]
        p = P()
        def f(x): return x * p["r"]
        def change(k): p.store["r"] = 2.0 + k
    """,
    "operators of an object": """
        class P:
            def __init__(self, r): self.r = r
            def __add__(self, other): return P(self.r + other.r)
            def __float__(self): return self.r
            def __bool__(self): return self.r > 4
            def __len__(self): return int(self.r)
            def __iter__(self): yield self.r
            def __contains__(self, y): return y == self.r
            def __rmul__(self, x): return np.multiply(x, self.r)
            __array_ufunc__ = None
        p, q = P(2.0), P(1.0)
        def f(x): return x * (p + q) * (2 if p else 3) * len(p) * sum(p) + (2.0 in p)
        def change(k): p.r = 2.0 + k
    """,
    "context manager": """
        class C:
            r = 2.0
            def __enter__(self): return self.r
            def __exit__(self, *a): pass
        c = C()
        def f(x):
            with c as r: return x * r
        def change(k): c.r = 2.0 + k
    """,
    "descriptor": """
        class D:
            r = 2.0
            def __get__(self, obj, kind=None): return D.r * SCALE
        class P: d = D()
        p = P()
        SCALE = 1.0
        def f(x): return x * p.d
        def change(k):
            if k == 2: globals().update(SCALE=5.0)
            else: D.r = 2.0 + k
    """,
    "metaclass attribute": """
        class M(type):
            r = 2.0
        class P(metaclass=M): pass
        def f(x): return x * P.r
        def change(k):
            if k == 3: P.r = 11.0
            else: M.r = 2.0 + k
    """,
    "classmethod and staticmethod": """
        class P:
            r = 2.0
            @classmethod
            def c(cls, x): return x * cls.r
            @staticmethod
            def s(x): return x * SCALE
        SCALE = 1.0
        def f(x): return P.c(x) + P.s(x)
        def change(k):
            if k == 1: P.r = 3.0
            if k == 2: globals().update(SCALE=4.0)
            if k == 3: P.s = staticmethod(lambda x: x * 9)
    """,
    "classmethod of an instance": """
        class P:
            r = 2.0
            @classmethod
            def c(cls, x): return x * cls.r
            def run(self, x): return self.c(x)
        p = P()
        def f(x): return p.run(x)
        def change(k): P.r = 2.0 + k
    """,
    "class made inside": """
        R = 2.0
        def f(x):
            class L:
                r = R
                def run(self, x): return x * self.r * R
            return L().run(x)
        def change(k): globals().update(R=2.0 + k)
    """,
    "instance made inside": """
        class P:
            r = 2.0
            def __init__(self): self.s = SCALE
            def run(self, x): return x * self.r * self.s
        SCALE = 1.0
        def f(x): return P().run(x)
        def change(k):
            if k == 1: P.r = 3.0
            if k == 2: globals().update(SCALE=4.0)
            if k == 3: P.run = lambda self, x: x
    """,
    "partial": """
        import functools
        def g(a, x, w=None): return x * a * w * R
        R = 1.0
        w = np.ones(3)
        h = functools.partial(g, 2.0, w=w)
        def f(x): return h(x)
        def change(k):
            if k == 1: w[0] = 3.0
            if k == 2: globals().update(R=5.0)
            if k == 3: globals().update(h=functools.partial(g, 7.0, w=w))
    """,
    "bound method kept": """
        class P:
            r = 2.0
            def run(self, x): return x * self.r
        p = P()
        run = p.run
        def f(x): return run(x)
        def change(k):
            if k == 3: globals().update(run=P().run)
            else: p.r = 2.0 + k
    """,
    "callable object": """
        class P:
            def __init__(self, r): self.r = r
            def __call__(self, x): return x * self.r
        p = P(2.0)
        def f(x): return p(x)
        def change(k):
            if k == 3: P.__call__ = lambda self, x: x
            else: p.r = 2.0 + k
    """,
    "wraps": """
        import functools
        LOG = 1.0
        def deco(g):
            @functools.wraps(g)
            def inner(x): return g(x) * LOG
            return inner
        R = 2.0
        @deco
        def f(x): return x * R
        def change(k):
            if k == 2: globals().update(LOG=4.0)
            else: globals().update(R=2.0 + k)
    """,
    "decorated callee": """
        import functools
        def deco(r):
            def outer(g):
                @functools.wraps(g)
                def inner(x): return g(x) * r[0]
                return inner
            return outer
        box = [2.0]
        @deco(box)
        def g(x): return x + 1
        def f(x): return g(x)
        def change(k): box[0] = 2.0 + k
    """,
    "functions in containers": """
        R = 2.0
        table = {"a": lambda x: x * R, "b": [lambda x: x + R]}
        def f(x): return table["a"](x) + table["b"][0](x)
        def change(k):
            if k == 1: globals().update(R=3.0)
            if k == 2: table["a"] = lambda x: x
            if k == 3: table["b"][0] = lambda x: x * 5
    """,
    "function through an attribute": """
        class O: pass
        o = O()
        o.fn = lambda x: x * R
        R = 2.0
        def f(x): return o.fn(x)
        def change(k):
            if k == 2: o.fn = lambda x: x * R * 2
            else: globals().update(R=2.0 + k)
    """,
    "recursion": """
        R = 2.0
        def g(x, n): return x * R if n == 0 else g(x, n - 1) + S
        S = 1.0
        def f(x): return g(x, 3)
        def change(k):
            if k == 2: globals().update(S=4.0)
            else: globals().update(R=2.0 + k)
    """,
    "mutual recursion": """
        R = 2.0
        def even(x, n): return x if n == 0 else odd(x, n - 1)
        def odd(x, n): return even(x * R, n - 1)
        def f(x): return even(x, 4)
        def change(k): globals().update(R=2.0 + k)
    """,
    "comprehension": """
        R = [1.0, 2.0]
        S = 1.0
        def f(x): return sum([x * r * S for r in R if r > T])
        T = 0.0
        def change(k):
            if k == 1: R.append(5.0)
            if k == 2: globals().update(S=4.0)
            if k == 3: globals().update(T=1.5)
    """,
    "generator function": """
        R = 2.0
        def gen(n):
            for k in range(n): yield R + k
        N = 3
        def f(x):
            for r in gen(N): x = x * r
            return x
        def change(k):
            if k == 2: globals().update(N=2)
            else: globals().update(R=2.0 + k)
    """,
    "generator expression, set and dict": """
        R = 2.0
        def f(x):
            d = {k: R * k for k in range(3)}
            s = {R, 1.0}
            return x * sum(v for v in d.values()) * len(s) * max(s)
        def change(k): globals().update(R=2.0 - k)
    """,
    "lambda default": """
        R = 2.0
        def f(x): return (lambda y, r=R: y * r)(x)
        def change(k): globals().update(R=2.0 + k)
    """,
    "walrus, star and unpacking": """
        PAIR = (2.0, 3.0)
        KW = {"b": 1.0}
        def g(a, c, b): return a * c + b
        def f(x): return x * g(*PAIR, **KW)
        def change(k):
            if k == 2: KW["b"] = 9.0
            else: globals().update(PAIR=(2.0 + k, 1.0))
    """,
    "enum": """
        import enum
        class E(enum.Enum):
            A = 1
            B = 2
        MODE = E.A
        def f(x): return x * MODE.value if MODE is E.A else x + MODE.value
        def change(k): globals().update(MODE=[E.B, E.A, E.B][k - 1])
    """,
    "numpy scalar": """
        R = np.float32(2.0)
        def f(x): return np.float32(1.5) * R + x
        def change(k): globals().update(R=[np.float64(2.0), np.float32(3.1), np.int64(2)][k - 1])
    """,
    "dtype": """
        D = np.dtype("f8")
        def f(x): return x.astype(D)
        def change(k): globals().update(D=[np.dtype("f4"), "f8", np.float32][k - 1])
    """,
    "array of objects": """
        O = np.array([2.0, [3.0]], dtype=object)
        def f(x): return x * O[0] * O[1][0]
        def change(k):
            if k == 2: O[1][0] = 7.0
            else: O[0] = 2.0 + k
    """,
    "array of strings": """
        S = np.array(["sin", "cos"])
        def f(x): return np.sin(x) if S[0] == "sin" else np.cos(x)
        def change(k): S[0] = ["cos", "sin", "cos"][k - 1]
    """,
    "structured array": """
        T = np.zeros(3, dtype=[("a", "f8"), ("b", "i4")])
        def f(x): return x * T["a"] + T["b"]
        def change(k): T["a" if k != 2 else "b"][k - 1] = 5
    """,
    "record array": """
        T = np.zeros(3, dtype=[("a", "f8"), ("b", "i4")]).view(np.recarray)
        def f(x): return x * T.a + T.b
        def change(k): T["a" if k != 2 else "b"][k - 1] = 5
    """,
    "set": """
        S = {1.0, 2.0}
        def f(x): return x * sum(S) * (3.0 in S)
        def change(k): S.add([3.0, 4.0, 5.0][k - 1])
    """,
    "frozenset": """
        S = frozenset({1.0, 2.0})
        def f(x): return x * sum(S)
        def change(k): globals().update(S=S | {2.0 + k})
    """,
    "set of functions": """
        S = {np.sin}
        def f(x): return sum(s(x) for s in S)
        def change(k): S.add([np.cos, np.tanh, np.exp][k - 1])
    """,
    "range, slice and bytes": """
        N, SL, B = range(2), slice(0, 2), b"ab"
        def f(x):
            for k in N: x = x * 2 + B[0]
            return x[SL]
        def change(k):
            if k == 1: globals().update(N=range(3))
            if k == 2: globals().update(SL=slice(1, 3))
            if k == 3: globals().update(B=b"cb")
    """,
    "date and fraction": """
        import datetime, fractions, decimal
        D, F = datetime.date(2020, 1, 2), fractions.Fraction(1, 2)
        def f(x): return x * D.day * float(F)
        def change(k):
            if k == 2: globals().update(F=fractions.Fraction(1, 3))
            else: globals().update(D=datetime.date(2020, 1, 2 + k))
    """,
    "array view": """
        base = np.arange(6.0)
        V = base[::2]
        def f(x): return x * V
        def change(k): base[2] = 10.0 + k
    """,
    "array view, used for numbers": """
        base = np.arange(6.0)
        V = base[::2]
        def f(x): return x * V.sum() * float(V[1])
        def change(k): base[2] = 10.0 + k
    """,
    "only shape": """
        W = np.ones((2, 3))
        def f(x): return x * W.shape[0] * len(W) * W.ndim
        def change(k): globals().update(W=np.ones(((3, 2), (2, 3), (5,))[k - 1]))
    """,
    "shape in a callee": """
        W = np.ones((2, 3))
        def rows(w): return len(w)
        def f(x): return x * rows(W) * np.shape(W)[1] * np.size(W)
        def change(k): globals().update(W=np.ones(((3, 2), (2, 3), (5, 1))[k - 1]))
    """,
    "condition": """
        W = np.array([1.0, 2.0])
        def f(x): return x * 2 if W[0] > 0 else x * 3
        def change(k): W[0] = -W[0]
    """,
    "condition in a callee": """
        W = np.array([1.0, 2.0])
        def positive(w): return w[0] > 0
        def f(x): return x * 2 if positive(W) else x * 3
        def change(k): W[0] = -W[0]
    """,
    "operand and condition": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x):
            y = x * W
            if any(w > 4.0 for w in W): return -y
            return y
        def change(k): W[k - 1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and tolist": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x):
            y = x * W
            for w in W.tolist(): y = y + w
            return y
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and iteration": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x):
            y = x * W
            for w in W: y = y + w
            return y
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and float": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x): return x * W * float(W[1]) + W.max() + sum(W) + min(W)
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and constant of it by hand": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x):
            n = 0.0
            for k in range(len(W)): n += math.exp(W[k])
            return x * W + n
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and the seed of a sum": """
        W = np.array([1.0, 0.0, 1.0])
        def f(x): return x * W + np.where(W > 0, 1.0, 0.0)
        def change(k): W[k - 1] = [0.0, 1.0, 0.0][k - 1]
    """,
    "operand and condition through a local": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x):
            w = W
            y = x * w
            return -y if w[1] > 4.0 else y
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and condition in a callee": """
        W = np.array([1.0, 2.0, 3.0])
        def big(w): return bool(np.max(w) > 4.0)
        def f(x): return -(x * W) if big(W) else x * W
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "outer array filled inside": """
        BUF = np.zeros(3)
        def f(x):
            BUF[:] = 2.0
            return x * BUF
        def change(k): BUF[:] = 9.0
    """,
    "operand and condition, in a loop over a list": """
        WS = [np.array([1.0, 2.0, 3.0]), np.ones(3)]
        def f(x):
            for w in WS:
                x = x * w
                if np.max(w) > 4.0: x = -x
            return x
        def change(k): WS[k % 2][1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and condition, of pairs": """
        PS = [(np.array([1.0, 2.0, 3.0]), np.ones(3))]
        def f(x):
            for w, b in PS:
                x = x * w + b
                if np.linalg.norm(b) > 4.0 or (w > 4.0).any(): x = -x
            return x
        def change(k): PS[0][k % 2][1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and condition of an item": """
        P = {"w": np.array([1.0, 2.0, 3.0])}
        def f(x):
            y = x * P["w"]
            return -y if np.sum(P["w"]) > 8.0 else y
        def change(k): P["w"][1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and condition of an attribute": """
        class M:
            def __init__(self): self.w = np.array([1.0, 2.0, 3.0])
            def run(self, x):
                y = x * self.w
                return -y if np.all(self.w > 1.0) or self.big(self.w) else y
            def big(self, w): return float(np.sum(w)) > 8.0
        m = M()
        def f(x): return m.run(x)
        def change(k): m.w[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and condition two calls away": """
        W = np.array([1.0, 2.0, 3.0])
        def large(v, limit): return np.abs(v).sum() > limit
        def layer(x, w, limit=8.0):
            if large(w, limit=limit): return -x * w
            return x * w
        def f(x): return layer(x, W)
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and arguments with a star": """
        W = np.array([1.0, 2.0, 3.0])
        def large(v): return np.sum(v) > 8
        def f(x): return -(x * W) if large(*[W]) else x * W
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and a list that f makes": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x): return -(x * W) if np.sum([W][0]) > 8 else x * W
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and a comprehension": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x): return -(x * W) if [np.sum(y) for y in [W]][0] > 8 else x * W
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and what a helper returns": """
        W = np.array([1.0, 2.0, 3.0])
        def get(): return W
        def f(x): return -(x * W) if np.sum(get()) > 8 else x * W
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and what a generator gives": """
        W = np.array([1.0, 2.0, 3.0])
        def gen(): yield W
        def f(x): return -(x * W) if np.sum(next(gen())) > 8 else x * W
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and a choice of two": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x): return -(x * W) if np.sum(W if len(x) > 1 else x) > 8 else x * W
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and a default": """
        W = np.array([1.0, 2.0, 3.0])
        def large(v=W): return np.sum(v)
        def f(x): return -(x * W) if large() > 8 else x * W
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and a keyword of its own": """
        W = np.array([1.0, 2.0, 3.0])
        def large(x, *, v): return np.sum(v) > 8
        def f(x): return -(x * W) if large(x, v=W) else x * W
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and varied arguments": """
        W = np.array([1.0, 2.0, 3.0])
        def large(x, *v): return np.sum(v[0]) > 8
        def f(x): return -(x * W) if large(x, W) else x * W
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "operand and number of it": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x): return x * W + int(np.count_nonzero(W > 2.5)) * float(np.max(W))
        def change(k): W[1] = [3.0, 5.0, 1.0][k - 1]
    """,
    "index array": """
        I = np.array([0, 1])
        def f(x): return x[I]
        def change(k): I[0] = [2, 1, 0][k - 1]
    """,
    "index number": """
        I = np.array([0, 1])
        def f(x): return x[I[0]] * x[int(I[1])]
        def change(k): I[0] = [2, 1, 0][k - 1]
    """,
    "mask": """
        M = np.array([True, False, True])
        def f(x): return x[M]
        def change(k): M[k - 1] = not M[k - 1]
    """,
    "mask in where and ufunc": """
        M = np.array([True, False, True])
        def f(x): return np.where(M, x, 2 * x) + np.sum(x, where=M)
        def change(k): M[k - 1] = not M[k - 1]
    """,
    "axis and shape by names": """
        A = (0,)
        SHAPE = [3, 1]
        def f(x): return np.reshape(x, SHAPE).sum(axis=A)
        def change(k):
            if k == 2: SHAPE[:] = [1, 3]
            else: globals().update(A=(k % 2,))
    """,
    "array computed beside": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x): return x * np.sort(W)[::-1] + np.linalg.norm(W)
        def change(k): W[k - 1] += 3.0
    """,
    "array in an array function": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x): return np.interp(x, W, W) + np.dot(W, x) + np.concatenate([W, x]).sum()
        def change(k): W[2] += 3.0
    """,
    "array copied beside": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x):
            w = W.copy()
            w[0] = 5.0
            return x * w + W[::-1] + W.astype(np.float32) + W.reshape(3)[2]
        def change(k): W[1] += 3.0
    """,
    "array unpacked": """
        W = np.array([1.0, 2.0, 3.0])
        def f(x):
            a, b, c = W
            return x * a + b * c
        def change(k): W[k - 1] += 3.0
    """,
    "0-d array": """
        W = np.array(2.0)
        def f(x): return x * W + float(W) + W[()] + W.item()
        def change(k): W[...] = 3.0 + k
    """,
    "array rebound with another shape": """
        W = np.ones(3)
        def f(x): return x * W
        def change(k): globals().update(W=[np.array(2.0), np.ones((2, 3)), 4.0][k - 1])
    """,
    "array rebound with another dtype": """
        W = np.ones(3)
        def f(x): return x.astype(np.float32) * W
        def change(k): globals().update(W=W.astype(["f4", "c16", "i8"][k - 1]))
    """,
    "two names of one array": """
        A = np.ones(3)
        B = A
        def f(x): return x * A + B
        def change(k):
            if k == 1: A[0] = 3.0
            if k == 2: globals().update(A=np.full(3, 4.0))
            if k == 3: B[0] = 7.0
    """,
    "two names of one list": """
        A = [1.0]
        B = A
        def f(x): return x * A[0] + B[0]
        def change(k):
            if k == 1: A[0] = 3.0
            if k == 2: globals().update(A=[4.0])
            if k == 3: B[0] = 7.0
    """,
    "two names of one object": """
        A = NS(r=1.0)
        B = A
        def f(x): return x * A.r + B.r
        def change(k):
            if k == 1: A.r = 3.0
            if k == 2: globals().update(A=NS(r=4.0))
            if k == 3: B.r = 7.0
    """,
    "two handed-on names of one object": """
        class P:
            def __init__(self, r): self.r = r
        A = P(1.0)
        B = A
        def get(o): return o.r
        def f(x): return x * get(A) + get(B)
        def change(k):
            if k == 1: A.r = 3.0
            if k == 2: globals().update(A=P(4.0))
            if k == 3: B.r = 7.0
    """,
    "two handed-on names of one array": """
        A = [np.ones(3), np.ones(3)]
        B = A[0]
        def f(x): return x * A[0] + B * A[1]
        def change(k):
            if k == 1: B[0] = 3.0
            if k == 2: A[0] = np.full(3, 4.0)
            if k == 3: B[0] = 7.0
    """,
    "operand, then equal array in its place": """
        A = np.ones(3)
        B = A
        def f(x): return x * A if A is B else x * A + 100
        def change(k): globals().update(A=np.ones(3))
    """,
    "identity of lists": """
        A = [1.0]
        B = A
        def f(x): return x * A[0] if A is B else x * A[0] + 100
        def change(k):
            if k == 3: globals().update(B=A)
            else: globals().update(A=[1.0])
    """,
    "large array": """
        W = np.ones(20_000)
        def f(x): return x * W.sum()
        def change(k): W[-k] = 5.0
    """,
    "matrix in Fortran order": """
        W = np.asfortranarray(np.arange(6.0).reshape(2, 3))
        def f(x): return W @ x + W.sum()
        def change(k):
            if k == 3: globals().update(W=np.ascontiguousarray(W) + 1)
            else: W[0, k] = 7.0
    """,
    "attributes of modules": """
        import types
        mod = types.ModuleType("somewhere")
        mod.w = np.ones(3)
        exec("rate = 2.0\\ndef g(x): return x * rate * w", vars(mod))
        def f(x): return mod.g(x) + mod.rate
        def change(k):
            if k == 1: mod.rate = 3.0
            if k == 2: mod.w[0] = 4.0
            if k == 3: mod.g = lambda x: x
    """,
    "module attribute added": """
        import types
        mod = types.ModuleType("somewhere")
        def f(x): return x * (mod.late if hasattr(mod, "late") else 1.0)
        def change(k): mod.late = 1.0 + k
    """,
    "module rebound": """
        import types
        mod = types.SimpleNamespace(r=2.0)
        def f(x): return x * mod.r
        def change(k):
            m = types.ModuleType("other"); m.r = 3.0 + k
            globals().update(mod=m)
    """,
    "module imported inside": """
        import types, sys
        sys.modules["nm_inside"] = mod = types.ModuleType("nm_inside")
        mod.r = 2.0
        def f(x):
            import nm_inside
            from nm_inside import r
            return x * nm_inside.r + r
        def change(k): mod.r = 2.0 + k
    """,
    "function imported inside": """
        import types, sys
        sys.modules["nm_inside2"] = mod = types.ModuleType("nm_inside2")
        exec("r = 2.0\\ndef g(x): return x * r", mod.__dict__)
        def f(x):
            from nm_inside2 import g
            return g(x)
        def change(k): mod.r = 2.0 + k
    """,
    "constants of numpy": """
        def f(x): return x * np.pi * math.pi
        def change(k): pass
    """,
    "globals()": """
        R = 2.0
        def f(x): return x * globals()["R"]
        def change(k): globals().update(R=2.0 + k)
    """,
    "getattr with a computed name": """
        cfg = NS(a=2.0, b=3.0)
        NAME = "a"
        def f(x): return x * getattr(cfg, NAME) * getattr(cfg, "".join(["b"]))
        def change(k):
            if k == 1: cfg.a = 5.0
            if k == 2: cfg.b = 5.0
            if k == 3: globals().update(NAME="b")
    """,
    "getattr of a module": """
        import types
        mod = types.ModuleType("somewhere")
        mod.rate = 2.0
        NAME = "rate"
        def f(x): return x * getattr(mod, NAME)
        def change(k): mod.rate = 2.0 + k
    """,
    "vars and __dict__": """
        class P: pass
        p = P()
        p.r = 2.0
        def f(x): return x * vars(p)["r"] + p.__dict__["r"]
        def change(k): p.r = 2.0 + k
    """,
    "operator and functools": """
        import operator, functools
        cfg = NS(a=2.0, w=[3.0])
        get = operator.attrgetter("a")
        def f(x): return functools.reduce(operator.mul, cfg.w, x * get(cfg))
        def change(k):
            if k == 2: cfg.w.append(4.0)
            else: cfg.a = 2.0 + k
    """,
    "map and filter": """
        ws = [1.0, -2.0, 3.0]
        LIM = 0.0
        def keep(w): return w > LIM
        def f(x): return x * sum(map(lambda w: w * 2, filter(keep, ws)))
        def change(k):
            if k == 1: globals().update(LIM=2.0)
            if k == 2: ws[0] = 5.0
            if k == 3: globals().update(LIM=-5.0)
    """,
    "sorted by a key": """
        ORDER = {"a": 1, "b": 2}
        W = {"a": 2.0, "b": 3.0}
        def f(x): return x ** W[sorted(W, key=lambda k: ORDER[k])[0]]
        def change(k): ORDER["a"] = [3, 0, 5][k - 1]
    """,
    "in and count": """
        NAMES = ["a"]
        D = {"q": 1}
        def f(x): return x * (2 if "b" in NAMES else 3) * (5 if "r" in D else 7)
        def change(k):
            if k == 2: D["r"] = 1
            else: NAMES.append("b") if k == 1 else NAMES.remove("b")
    """,
    "len of containers": """
        D, L, S = {}, [], set()
        def f(x): return x * (1 + len(D) + 2 * len(L) + 3 * len(S))
        def change(k):
            if k == 1: D["a"] = 1
            if k == 2: L.append(1)
            if k == 3: S.add(1)
    """,
    "truth of containers": """
        D = {}
        def f(x):
            if D: return x * 2
            return x
        def change(k): D.clear() if k == 2 else D.update(a=1)
    """,
    "dict subclass": """
        import collections
        D = collections.defaultdict(lambda: 1.0, a=2.0)
        O = collections.OrderedDict(a=1.0)
        C = collections.Counter("aab")
        M = collections.ChainMap({"z": 1.0}, O)
        def f(x): return x * D["a"] * O["a"] * C["a"] * M["z"] * M["a"]
        def change(k):
            if k == 1: D["a"] = 3.0
            if k == 2: O["a"] = 3.0
            if k == 3: C["a"] = 7
    """,
    "default dict filled by reading": """
        import collections
        D = collections.defaultdict(lambda: R)
        R = 2.0
        def f(x): return x * D["a"]
        def change(k):
            globals().update(R=2.0 + k)
            if k == 2: D.clear()
    """,
    "mapping proxy": """
        import types
        raw = {"a": 2.0}
        D = types.MappingProxyType(raw)
        def f(x): return x * D["a"]
        def change(k): raw["a"] = 2.0 + k
    """,
    "deque and array.array": """
        import collections, array
        Q = collections.deque([2.0], 4)
        A = array.array("d", [2.0])
        def f(x): return x * Q[-1] * A[0]
        def change(k):
            if k == 2: A[0] = 9.0
            else: Q.append(2.0 + k)
    """,
    "memoryview": """
        import array
        A = array.array("d", [2.0])
        V = memoryview(A)
        def f(x): return x * V[0]
        def change(k): A[0] = 2.0 + k
    """,
    "iterator": """
        T = iter([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0])
        def f(x): return x * next(T)
        def change(k): pass
    """,
    "generator object": """
        T = (1.0 + k for k in range(40))
        def f(x): return x * next(T)
        def change(k): pass
    """,
    "itertools.count": """
        import itertools
        T = itertools.count()
        def f(x): return x * next(T)
        def change(k): pass
    """,
    "weakref": """
        import weakref
        class P: r = 2.0
        p = P()
        W = weakref.ref(p)
        def f(x): return x * W().r
        def change(k): p.r = 2.0 + k
    """,
    "contextvar": """
        import contextvars
        V = contextvars.ContextVar("v", default=2.0)
        def f(x): return x * V.get()
        def change(k): V.set(2.0 + k)
    """,
    "thread local": """
        import threading
        T = threading.local()
        T.r = 2.0
        def f(x): return x * T.r
        def change(k): T.r = 2.0 + k
    """,
    "user list and dict": """
        import collections
        L, D = collections.UserList([2.0]), collections.UserDict(a=3.0)
        def f(x): return x * L[0] * D["a"]
        def change(k):
            if k == 2: D["a"] = 7.0
            else: L[0] = 2.0 + k
    """,
    "sparse matrix": """
        import scipy.sparse
        S = scipy.sparse.csr_array(np.diag([1.0, 2.0, 3.0]))
        def f(x): return x * (S @ np.ones(3)) * S.sum()
        def change(k): S.data[0] = 2.0 + k
    """,
    "sparse matrix times x": """
        import scipy.sparse
        S = scipy.sparse.csr_array(np.diag([1.0, 2.0, 3.0]))
        def f(x): return x * S.diagonal()
        def change(k): S.data[0] = 2.0 + k
    """,
    "polynomial of numpy": """
        P = np.polynomial.Polynomial([1.0, 2.0])
        def f(x): return P(x)
        def change(k): P.coef[0] = 2.0 + k
    """,
    "poly1d": """
        P = np.poly1d([1.0, 2.0])
        def f(x): return P(x)
        def change(k): P.coeffs[0] = 2.0 + k
    """,
    "spline of scipy": """
        import scipy.interpolate
        S = scipy.interpolate.CubicSpline([0.0, 1.0, 2.0], [0.0, 1.0, 0.0])
        def f(x): return x * float(S(0.5))
        def change(k): S.c[0] += 1.0
    """,
    "frozen distribution of scipy": """
        import scipy.stats
        D = scipy.stats.norm(2.0)
        def f(x): return x * D.mean()
        def change(k): D.args = (2.0 + k,)
    """,
    "frame of pandas": """
        pd = pytest.importorskip("pandas")
        D = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
        def f(x): return x * D["a"].to_numpy() + D.a.sum()
        def change(k): D.loc[0, "a"] = 2.0 + k
    """,
    "series of pandas": """
        pd = pytest.importorskip("pandas")
        D = pd.Series([1.0, 2.0, 3.0])
        def f(x): return x * D.values + float(D.iloc[0])
        def change(k): D.iloc[0] = 2.0 + k
    """,
    "function with a cache": """
        import functools
        @functools.lru_cache
        def g(n): return n * R
        R = 2.0
        def f(x): return x * g(3)
        def change(k):
            globals().update(R=2.0 + k)
            if k == 2: g.cache_clear()
    """,
    "singledispatch": """
        import functools
        @functools.singledispatch
        def g(n): return R
        @g.register
        def _(n: int): return R * 2
        R = 2.0
        def f(x): return x * g(3) * g("a")
        def change(k): globals().update(R=2.0 + k)
    """,
    "jit of jit": """
        R = 2.0
        @jit
        def g(x): return x * R
        def f(x): return g(x) + 1
        def change(k): globals().update(R=2.0 + k)
    """,
    "grad of an outer function": """
        R = 2.0
        def g(x): return np.sum(x ** 2 * R)
        dg = grad(g)
        def f(x): return dg(x) + grad(g)(x)
        def change(k):
            if k == 3: globals().update(dg=grad(lambda x: np.sum(x)))
            else: globals().update(R=2.0 + k)
    """,
    "vmap of an outer function": """
        R = 2.0
        h = vmap(lambda v: v * R)
        def f(x): return h(x)
        def change(k): globals().update(R=2.0 + k)
    """,
    "function handed to a library": """
        import scipy.optimize
        R = 2.0
        def g(t): return t * t - R
        def f(x): return x * scipy.optimize.brentq(g, 0.0, 10.0)
        def change(k): globals().update(R=2.0 + k)
    """,
    "function handed on as a keyword": """
        R = 2.0
        def g(t): return t * R
        def h(x, *, how): return how(x)
        def f(x): return h(x, how=g)
        def change(k): globals().update(R=2.0 + k)
    """,
    "function returned": """
        R = 2.0
        def make(n):
            def g(x): return x * R * n * S
            return g
        S = 1.0
        def f(x): return make(3)(x)
        def change(k):
            if k == 2: globals().update(S=4.0)
            else: globals().update(R=2.0 + k)
    """,
    "function stored by f": """
        R = 2.0
        store = {}
        def f(x):
            if "g" not in store: store["g"] = lambda x: x * R
            return store["g"](x)
        def change(k): globals().update(R=2.0 + k)
    """,
    "object kept in a global by f": """
        class C:
            def __init__(self): self.r = 2.0
        CACHE = None
        def f(x):
            global CACHE
            if CACHE is None: CACHE = C()
            return x * CACHE.r
        def change(k): CACHE.r = 2.0 + k
    """,
    "outer array written inside": """
        BUF = np.zeros(3)
        def f(x):
            BUF[0] += 1.0
            return x * BUF
        def change(k): pass
    """,
    "outer list written inside": """
        LOG = [1.0]
        def f(x):
            LOG.append(LOG[-1] + 1)
            return x * LOG[-1]
        def change(k): pass
    """,
    "outer dict written inside": """
        STATE = {"n": 1.0}
        def f(x):
            STATE["n"] = STATE["n"] * 2
            return x * STATE["n"]
        def change(k): pass
    """,
    "outer number written inside": """
        N = 1.0
        def f(x):
            global N
            N = N * 2
            return x * N
        def change(k): pass
    """,
    "counted and read": """
        N = 0
        def f(x):
            global N
            N += 1
            return x * N
        def change(k): pass
    """,
    "attribute counted and read": """
        class P:
            n = 0
            def run(self, x):
                self.n += 1
                return x * self.n
        p = P()
        def f(x): return p.run(x)
        def change(k): pass
    """,
    "counted by an array": """
        N = np.zeros(1)
        def f(x):
            N[0] += 1
            return x * N[0]
        def change(k): pass
    """,
    "counted in a list and read": """
        N = [0]
        def f(x):
            N[0] += 1
            return x * N[0]
        def change(k): pass
    """,
    "random numbers of Python": """
        import random
        random.seed(3)
        def f(x): return x * random.random()
        def change(k): pass
    """,
    "random choice by a name": """
        from random import gauss
        import random
        random.seed(3)
        def f(x): return x * gauss(0, 1)
        def change(k): pass
    """,
    "an own Random": """
        import random
        rng = random.Random(3)
        def f(x): return x * rng.random()
        def change(k): pass
    """,
    "legacy draws by a name": """
        from numpy.random import normal
        np.random.seed(3)
        def f(x): return x * normal()
        def change(k): pass
    """,
    "legacy draws in a callee": """
        np.random.seed(3)
        def noise(n): return np.random.rand(n)
        def f(x): return x * noise(3)
        def change(k): pass
    """,
    "a plain generator in an object": """
        class P:
            def __init__(self): self.rng = np.random.default_rng(0)
            def run(self, x): return x * self.rng.normal()
        p = P()
        def f(x): return p.run(x)
        def change(k): pass
    """,
    "bound method of a generator": """
        normal = np.random.default_rng(0).normal
        def f(x): return x * normal()
        def change(k): pass
    """,
    "plain generators in a list": """
        rngs = [np.random.default_rng(k) for k in range(2)]
        def f(x): return x * rngs[0].normal() * rngs[1].normal()
        def change(k): pass
    """,
    "a seeded RandomState made inside": """
        SEED = 3
        def f(x): return x * np.random.RandomState(SEED).normal(size=3)
        def change(k): globals().update(SEED=3 + k)
    """,
    "a seeded plain generator made inside": """
        SEED = 3
        def f(x): return x * np.random.default_rng(SEED).normal(size=3)
        def change(k): globals().update(SEED=3 + k)
    """,
}

_CHANGES = "it reads and that is no argument; pass it in and return it instead"
_ITERATOR = "T is an iterator, which gives something else at each call"

# What cannot be watched, and what f itself changes at each call: these run eagerly, and say why.
EAGER = {
    "set of functions": "S is a set of other things than numbers and strings",
    "globals()": "f calls globals()",
    "iterator": _ITERATOR,
    "generator object": _ITERATOR,
    "itertools.count": _ITERATOR,
    "polynomial of numpy": "takes a plain array out of a traced value",
    "outer array written inside": _CHANGES,
    "outer array filled inside": _CHANGES,
    "outer list written inside": _CHANGES,
    "outer dict written inside": _CHANGES,
    "outer number written inside": _CHANGES,
    "counted and read": _CHANGES,
    "attribute counted and read": _CHANGES,
    "counted by an array": _CHANGES,
    "counted in a list and read": _CHANGES,
    "random numbers of Python": "it draws from Python's random",
    "random choice by a name": "it draws from Python's random",
    "an own Random": "it draws from Python's random",
    "legacy draws by a name": "it draws from numpy.random",
    "legacy draws in a callee": "it draws from numpy.random",
    "a plain generator in an object": "it draws from numpy.random",
    "bound method of a generator": "it draws from numpy.random",
    "plain generators in a list": "it draws from numpy.random",
}

# Anything goes: what pandas does inside is its own.
EITHER = frozenset({"frame of pandas", "series of pandas"})
