"""Write `elementwise.h`: the table of elementwise primitives as C.

Run by `setup.py`, before anything is built: the table is loaded from its path, and nothing of the
package is imported. Command line: ``python kernels/generate.py TABLE HEADER``.

What a derivative becomes. An expression is taken apart into operations, each distinct one once.
What the compiler can vectorise (arithmetic, square roots, comparisons, selects) makes one loop
without branches; every other function (`cos`, `power`, …) is called a block at a time, through
NumPy's own SIMD inner loops, and leaves its block in a work buffer that the loop then reads. So a
gradient is as fast as NumPy, and has the accuracy of NumPy. Sine and cosine are computed here: in
NumPy they are the slowest loops by far.
"""

import ast
import math
import runpy
import sys

HEAD = r"""/* Written by kernels/generate.py from autodiff/primitives/table.py: change those.
 *
 * Include after <numpy/ndarraytypes.h> and <numpy/ufuncobject.h>. The includer fills `ad_loop`
 * before it calls a kernel (entries may stay NULL: then libm is called element by element).
 *
 * Compile with -fno-math-errno (GCC has no pragma for it) and, where the machine has fused
 * multiply-add, -ffp-contract=off: square roots become SIMD instructions, values keep their bits.
 * The loops leave anything in the floating-point status flags.
 */
#ifndef AUTODIFF_ELEMENTWISE_H
#define AUTODIFF_ELEMENTWISE_H

#include <math.h>
#include <stddef.h>

#if defined(__GNUC__) && !defined(__clang__)
#define AD_UNUSED __attribute__((unused))
#define AD_INDEPENDENT _Pragma("GCC ivdep")
#pragma GCC push_options
#pragma GCC optimize("O3", "no-math-errno", "no-trapping-math")
#elif defined(__clang__)
#define AD_UNUSED __attribute__((unused))
#define AD_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define AD_UNUSED
#define AD_INDEPENDENT
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define AD_KERNEL static __attribute__((target_clones("avx2", "default"), unused)) void
#else
#define AD_KERNEL static AD_UNUSED void
#endif

#define AD_BLOCK 512

typedef void (*ad_kernel)(npy_intp n, const double *a, const double *b, const double *y,
                          const double *g, double *out, double *work);

/* 0 where g is 0, whatever d is; a NaN in g stays. */
static inline AD_UNUSED double ad_scale(double g, double d) { return g == 0.0 ? 0.0 : g * d; }

static inline AD_UNUSED double ad_sign(double x)
{
    return x > 0.0 ? 1.0 : (x < 0.0 ? -1.0 : (x == 0.0 ? 0.0 : x));
}

static inline AD_UNUSED double ad_heaviside(double a, double b)
{
    return a == 0.0 ? b : (a < 0.0 ? 0.0 : (a > 0.0 ? 1.0 : a));
}

static inline AD_UNUSED double ad_maximum(double a, double b)
{
    return (a >= b || a != a) ? a : b;
}

static inline AD_UNUSED double ad_minimum(double a, double b)
{
    return (a <= b || a != a) ? a : b;
}

/* Python's division and modulus, which NumPy follows. */
static AD_UNUSED double ad_remainder(double a, double b)
{
    double r = fmod(a, b);
    if (b == 0.0) return r;
    if (r != 0.0) return ((b < 0.0) != (r < 0.0)) ? r + b : r;
    return copysign(0.0, b);
}

static AD_UNUSED double ad_floor_divide(double a, double b)
{
    double r, q, whole;
    if (b == 0.0) return a / b;
    r = fmod(a, b);
    q = (a - r) / b;
    if (r != 0.0 && ((b < 0.0) != (r < 0.0))) q -= 1.0;
    if (q == 0.0) return copysign(0.0, a / b);
    whole = floor(q);
    return q - whole > 0.5 ? whole + 1.0 : whole;
}

static AD_UNUSED double ad_logaddexp(double a, double b)
{
    double d = a - b;
    if (a == b) return a + 0.6931471805599453;
    return d > 0.0 ? a + log1p(exp(-d)) : (d <= 0.0 ? b + log1p(exp(d)) : d);
}

static AD_UNUSED double ad_logaddexp2(double a, double b)
{
    double d = a - b;
    if (a == b) return a + 1.0;
    return d > 0.0 ? a + 1.4426950408889634 * log1p(exp2(-d))
                   : (d <= 0.0 ? b + 1.4426950408889634 * log1p(exp2(d)) : d);
}

static AD_UNUSED double ad_ldexp(double a, double b) { return ldexp(a, (int)b); }

static AD_UNUSED double ad_expit(double x) { return 1.0 / (1.0 + exp(-x)); }

/* The digamma function: DLMF 5.5.2 (recurrence up to 10), 5.11.2 (asymptotic series there), 5.5.4
 * (reflection for negative x). */
static AD_UNUSED double ad_digamma(double x)
{
    static const double series[] = {/* B(2k) / 2k */
        1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132, -691.0 / 32760, 1.0 / 12,
        -3617.0 / 8160};
    const double pi = 3.141592653589793;
    double below = 0.0, u, power, tail = 0.0;
    int k;
    if (x == 0.0) return copysign(INFINITY, -x);
    if (x < 0.0) {
        double fraction = x - floor(x);
        if (fraction == 0.0) return NAN;
        below = -pi / tan(pi * fraction);
        x = 1.0 - x;
    }
    while (x < 10.0) {
        below -= 1.0 / x;
        x += 1.0;
    }
    u = 1.0 / (x * x);
    power = u;
    for (k = 0; k < 8; k++) {
        tail += series[k] * power;
        power *= u;
    }
    return below + log(x) - 0.5 / x - tail;
}

/* The derivative of order n of the digamma function, n = 1, 2, …: DLMF 25.11.12 in terms of the
 * Hurwitz zeta function, whose sum is continued from 10 on by Euler-Maclaurin (25.11.5). */
static AD_UNUSED double ad_polygamma(double n, double x)
{
    static const double series[] = {/* B(2k) / (2k)! */
        1.0 / 12, -1.0 / 720, 1.0 / 30240, -1.0 / 1209600, 1.0 / 47900160,
        -691.0 / 1307674368000.0, 1.0 / 74724249600.0, -3617.0 / 10670622842880000.0};
    double s = n + 1.0, sum = 0.0, factor, tail, last;
    int k;
    if (n == 0.0) return ad_digamma(x);
    if (!(n > 0.0) || n != floor(n) || x != x) return NAN;
    if (x <= 0.0 && x == floor(x)) return INFINITY;
    if (x == INFINITY) return 0.0;
    if (x < -1e7) return NAN;
    while (x < 12.0 + n) {
        sum += pow(x, -s);
        x += 1.0;
    }
    last = pow(x, -s);
    tail = last * x / n + 0.5 * last;
    factor = s * last / x;
    for (k = 0; k < 8; k++) {
        tail += series[k] * factor;
        factor *= (s + 2 * k + 1) * (s + 2 * k + 2) / (x * x);
    }
    return (fmod(n, 2.0) == 1.0 ? 1.0 : -1.0) * tgamma(s) * (sum + tail);
}
"""

TRIGONOMETRY = r"""
#if defined(__GNUC__)
typedef npy_int64 __attribute__((may_alias)) ad_bits;
#else
typedef npy_int64 ad_bits;
#endif

/* cos(x), or sin(x) where `turn` is 3, of a block of at most AD_BLOCK doubles; 0 where an argument
 * is too large for this. NumPy's float64 loops for the two are not vectorised everywhere and cost
 * ten multiplications an element or more; a derivative need not have their very bits.
 * Reduction by pi/2 in three parts (Cody and Waite 1980), then the minimax polynomials of the C
 * library (Kahan and Ng's fdlibm) on [-pi/4, pi/4]: within 1.5 units in the last place. */
#define AD_TRIG_MOST 4e5
AD_KERNEL ad_trig_block(npy_intp n, const double *x, double *out, npy_int64 turn)
{
    const double magic = 6755399441055744.0;
    AD_INDEPENDENT
    for (npy_intp i = 0; i < n; i++) {
        const double shifted = x[i] * 0.6366197723675814 + magic;
        const double k = shifted - magic;
        const double r = ((x[i] - k * 1.57079632673412561417e+00) - k * 6.07710050630396597660e-11)
                         - k * 2.02226624879595063154e-21;
        const double z = r * r;
        const double s = r + r * z * (-1.66666666666666324348e-01 + z * (8.33333333332248946124e-03
            + z * (-1.98412698298579493134e-04 + z * (2.75573137070700676789e-06
            + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)))));
        const double c = 1.0 - (0.5 * z - z * z * (4.16666666666666019037e-02
            + z * (-1.38888888888741095749e-03 + z * (2.48015872894767294178e-05
            + z * (-2.75573143513906633035e-07 + z * (2.08757232129817482790e-09
            + z * -1.13596475577881948265e-11))))));
        /* The quadrant stands in the low bits of `shifted`. */
        const npy_int64 quadrant = *(const ad_bits *)&shifted + turn;
        const npy_int64 odd = -(quadrant & 1);
        npy_int64 bits = (*(const ad_bits *)&s & odd) | (*(const ad_bits *)&c & ~odd);
        bits ^= ((quadrant + 1) & 2) << 62;
        *(ad_bits *)&out[i] = bits;
    }
}

static AD_UNUSED int ad_trig(npy_intp n, const double *x, double *out, int turn)
{
    int small = 1;
    for (npy_intp i = 0; i < n; i++) small &= fabs(x[i]) <= AD_TRIG_MOST;
    if (!small) return 0;
    ad_trig_block(n, x, out, turn);
    return 1;
}
"""

# Functions that are instructions, or a few of them: they stay inside the vectorised loop.
INLINE = {
    "sqrt": "sqrt({0})",
    "absolute": "fabs({0})",
    "fabs": "fabs({0})",
    "copysign": "copysign({0}, {1})",
    "sign": "ad_sign({0})",
    "square": "({0} * {0})",
}

# Rows with a value in C, for one double at a time: what a kernel calls where NumPy has no loop.
NAMED_ALIKE = """
    cbrt exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh fmod hypot fmax fmin floor
    ceil trunc rint nextafter erf erfc
"""
WRITTEN_HERE = """
    remainder floor_divide logaddexp logaddexp2 heaviside maximum minimum sign expit digamma
    polygamma ldexp
"""
LIBM = {
    **{name: name for name in NAMED_ALIKE.split()},
    **{name: "ad_" + name for name in WRITTEN_HERE.split()},
    **{"arc" + name: "a" + name for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "arctan2": "atan2",
    "power": "pow",
    "float_power": "pow",
    "gammaln": "lgamma",
}

# Calls in the value column that are exact, hence the same in NumPy and in libm.
EXACT = {"sqrt", "fabs", "copysign", "floor", "ceil", "trunc", "rint"}

OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
COMPARISONS = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


class Parser:
    """Turns an expression of the table into nested tuples, with shorthands and constants resolved.

    The tuples: ``("number", v)``, ``("name", "x")``, ``("-", p)``, ``("+", p, q)`` and so on,
    ``("select", "<", l, r, p, q)``, ``("scale", g, d)``, ``("call", function, *arguments)``.
    """

    def __init__(self, constants, shorthands):
        self.constants = constants
        self.shorthands = {}
        for head, body in shorthands.items():
            call = ast.parse(head, mode="eval").body
            parameters = [argument.id for argument in call.args]
            self.shorthands[call.func.id] = parameters, ast.parse(body, mode="eval").body

    def parse(self, text):
        return self.visit(ast.parse(text.strip(), mode="eval").body, {})

    def visit(self, node, names):
        if isinstance(node, ast.Constant):
            return ("number", float(node.value))
        if isinstance(node, ast.Name):
            if node.id in self.constants:
                return ("number", self.constants[node.id])
            return names.get(node.id, ("name", node.id))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            p = self.visit(node.operand, names)
            return ("number", -p[1]) if p[0] == "number" else ("-", p)
        if isinstance(node, ast.BinOp):
            p, q = self.visit(node.left, names), self.visit(node.right, names)
            operator = OPERATORS[type(node.op)]
            if p[0] == q[0] == "number":
                return ("number", eval(f"{p[1]!r} {operator} {q[1]!r}"))
            return (operator, p, q)
        if not isinstance(node, ast.Call):
            raise SyntaxError(f"{ast.unparse(node)} is not in the language of the table")
        function = node.func.id
        if function == "select":
            test = node.args[0]
            left, right = self.visit(test.left, names), self.visit(test.comparators[0], names)
            branches = [self.visit(argument, names) for argument in node.args[1:]]
            return ("select", COMPARISONS[type(test.ops[0])], left, right, *branches)
        arguments = [self.visit(argument, names) for argument in node.args]
        if function in self.shorthands:
            parameters, body = self.shorthands[function]
            return self.visit(body, dict(zip(parameters, arguments, strict=True)))
        if function == "scale":
            return ("scale", *arguments)
        return ("call", function, *arguments)


def children(p):
    """Return the sub-expressions of an expression."""
    return [q for q in p[1:] if isinstance(q, tuple)]


def names_in(p):
    """Return the operands that an expression reads."""
    return {p[1]} if p[0] == "name" else set().union(*map(names_in, children(p)))


def literal(value):
    """Return a number as C."""
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    return repr(value) if value >= 0 else f"({value!r})"


class Block:
    """Statements of C in which every distinct sub-expression is computed once.

    Parameters
    ----------
    leaf : callable
        Gives the C text of a number, a name, or of a call that is not to be taken apart here; None
        for anything else.
    """

    def __init__(self, leaf):
        self.leaf = leaf
        self.lines = []
        self.known = {}

    def write(self, p):
        """Append what computes `p`; return the C expression that names it."""
        if p in self.known:
            return self.known[p]
        text = literal(p[1]) if p[0] == "number" else self.leaf(p)
        if text is None:
            parts = [self.write(q) for q in children(p)]
            if p[0] == "-" and len(parts) == 1:
                value = f"-{parts[0]}"
            elif p[0] in "+-*/":
                value = f"{parts[0]} {p[0]} {parts[1]}"
            elif p[0] == "select":
                value = f"{parts[0]} {p[1]} {parts[1]} ? {parts[2]} : {parts[3]}"
            elif p[0] == "scale":
                value = f"ad_scale({parts[0]}, {parts[1]})"
            elif p[1] in INLINE:
                value = INLINE[p[1]].format(*parts)
            else:
                value = f"{LIBM[p[1]]}({', '.join(parts)})"
            text = f"t{len(self.lines)}"
            self.lines.append(f"const double {text} = {value};")
        self.known[p] = text
        return text


def outer_calls(p, found):
    """Collect the calls that go through inner loops, arguments before what uses them."""
    for q in children(p):
        outer_calls(q, found)
    if p[0] == "call" and p[1] not in INLINE and p not in found:
        found.append(p)
    return found


def loop(p, target, buffers):
    """Return a loop that stores expression `p` (or scales g by it, into `out`) in `target`."""
    reads = set()

    def leaf(q):
        if q[0] == "name":
            name = {"x": "a"}.get(q[1], q[1])
            reads.add(name)
            return f"{name}[i]"
        return f"{buffers[q]}[i]" if q in buffers else None

    block = Block(leaf)
    value = block.write(p)
    result = f"ad_scale(g[i], {value})" if target == "out" else value
    if p == ("number", 0.0):
        result = value
    body = "".join(f"        {line}\n" for line in block.lines)
    return (
        f"    AD_INDEPENDENT\n    for (npy_intp i = 0; i < n; i++) {{\n{body}"
        f"        {target}[i] = {result};\n    }}\n"
    )


def kernel(row, k, p):
    """Return the kernel of one derivative, its name and the number of work buffers it needs."""
    buffers, lines, count = {}, [], 0
    for call in outer_calls(p, []):
        pointers = []
        for argument in call[2:]:
            if argument[0] == "name":
                pointers += [{"x": "a"}.get(argument[1], argument[1]), "8"]
            elif argument in buffers:
                pointers += [buffers[argument], "8"]
            elif argument[0] == "number":
                lines.append(f"    static const double c{len(lines)} = {literal(argument[1])};\n")
                pointers += [f"&c{len(lines) - 1}", "0"]
            else:
                lines.append(loop(argument, f"w{count}", buffers))
                buffers[argument] = f"w{count}"
                pointers += [f"w{count}", "8"]
                count += 1
        buffers[call] = f"w{count}"
        arity = len(call) - 2
        lines.append(
            f"    ad_apply{arity}(OP_{call[1].upper()}, n, {', '.join(pointers)}, w{count});\n"
        )
        count += 1
    lines.append(loop(p, "out", buffers))
    work = "".join(f"    double *const w{j} = work + {j} * AD_BLOCK;\n" for j in range(count))
    unused = "".join(
        f"    (void){name};\n"
        for name in ("a", "b", "y", *(() if count else ("work",)))
        if name not in {"x": "a"} and not any(_reads(line, name) for line in [*lines, work])
    )
    name = f"ad_{row.name}_{k}"
    text = (
        f"AD_KERNEL {name}(npy_intp n, const double *a, const double *b, const double *y,\n"
        f"{' ' * (len(name) + 11)}const double *g, double *out, double *work)\n"
        f"{{\n{work}{unused}{''.join(lines)}}}\n"
    )
    return name, text, count


def _reads(text, name):
    return f"{name}[i]" in text or f" {name}," in text or f"= {name} " in text


APPLY = r"""
/* The inner loops of NumPy's ufuncs for doubles, filled in when the extension is imported. */
static AD_UNUSED PyUFuncGenericFunction ad_loop[OP_COUNT];
static AD_UNUSED void *ad_loop_data[OP_COUNT];

static AD_UNUSED void ad_apply1(int op, npy_intp n, const double *p, npy_intp step, double *out)
{
    if (step == 8 && ((op == OP_COS && ad_trig(n, p, out, 0))
                      || (op == OP_SIN && ad_trig(n, p, out, 3)))) return;
    if (ad_loop[op]) {
        char *pointers[2] = {(char *)p, (char *)out};
        npy_intp steps[2] = {step, 8};
        ad_loop[op](pointers, &n, steps, ad_loop_data[op]);
        return;
    }
    for (npy_intp i = 0; i < n; i++)
        out[i] = op_value(op, *(const double *)((const char *)p + i * step), 0.0);
}

static AD_UNUSED void ad_apply2(int op, npy_intp n, const double *p, npy_intp step_p,
                                const double *q, npy_intp step_q, double *out)
{
    if (ad_loop[op]) {
        char *pointers[3] = {(char *)p, (char *)q, (char *)out};
        npy_intp steps[3] = {step_p, step_q, 8};
        ad_loop[op](pointers, &n, steps, ad_loop_data[op]);
        return;
    }
    for (npy_intp i = 0; i < n; i++)
        out[i] = op_value(op, *(const double *)((const char *)p + i * step_p),
                          *(const double *)((const char *)q + i * step_q));
}
"""


KERNELS = r"""
/* out[i] = ad_scale(g[i], d), d the derivative in operand k, for i < n <= AD_BLOCK; all arrays are
 * contiguous; out may be g. NULL: no derivative. */"""

TAIL = r"""
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

#endif
"""


def scalar_case(label, p, statement):
    """Return one case of a switch over operations on single doubles."""
    block = Block(lambda q: {"x": "a"}.get(q[1], q[1]) if q[0] == "name" else None)
    value = block.write(p)
    body = "".join(f"        {line}\n" for line in block.lines)
    return f"    case {label}: {{\n{body}        {statement.format(value)}\n    }}\n"


def array(kind, name, values):
    """Return a constant array with one entry a row."""
    lines = "".join(f"    {value},\n" for value in values)
    return f"static AD_UNUSED {kind} {name} = {{\n{lines}}};\n"


def header(table):
    """Return the text of the header for a loaded table."""
    rows = table["ROWS"]
    parser = Parser(table["CONSTANTS"], table["SHORTHANDS"])
    partials = {
        (row.name, k): parser.parse(text)
        for row in rows
        for k, text in enumerate(row.derivatives)
        if text is not None
    }
    known = {row.name for row in rows}
    for (name, _), p in partials.items():
        for call in outer_calls(p, []):
            if call[1] not in known:
                raise NameError(f"row {name!r} calls {call[1]!r}, which is no row of the table")
            if call[1] not in LIBM:
                raise NameError(f"row {name!r} calls {call[1]!r}, which has no value in C")

    def needs(row, k):
        p = partials.get((row.name, k))
        bits = {"x": 1, "a": 1, "b": 2, "y": 4}
        return sum(bits[name] for name in names_in(p)) if p else 0

    def constant(row, k):
        p = partials.get((row.name, k))
        return int(p[1]) if p in (("number", 1.0), ("number", -1.0)) else 0

    simple, values, cases, kernels, pointers, work = [], [], [], [], [], 0
    for row in rows:
        op = f"OP_{row.name.upper()}"
        if row.value != row.name:
            p = parser.parse(row.value)
            if not {call[1] for call in outer_calls(p, [])} <= EXACT:
                raise ValueError(f"the value of row {row.name!r} is not plain arithmetic")
            simple.append(scalar_case(op, p, "*y = {}; return 1;"))
            values.append(scalar_case(op, p, "return {};"))
        elif row.name in LIBM:
            operands = ", ".join("ab"[: len(row.operands)])
            values.append(f"    case {op}: return {LIBM[row.name]}({operands});\n")
        names = ["NULL", "NULL"]
        for k in range(len(row.operands)):
            if (p := partials.get((row.name, k))) is not None:
                cases.append(scalar_case(f"2 * {op} + {k}", p, "return {};"))
                names[k], text, count = kernel(row, k, p)
                kernels.append(text)
                work = max(work, count)
        pointers.append(names)
    pairs = [[(needs(row, k), constant(row, k)) for k in (0, 1)] for row in rows]
    return "\n".join(
        [
            HEAD,
            TRIGONOMETRY,
            "enum {\n"
            + "".join(f"    OP_{row.name.upper()},\n" for row in rows)
            + "    OP_COUNT\n};\n",
            array("const char *const", "op_name[OP_COUNT]", [f'"{row.name}"' for row in rows]),
            array("const unsigned char", "op_nin[OP_COUNT]", [len(row.operands) for row in rows]),
            "/* What the derivative in operand k reads: 1 the first operand, 2 the second, 4 y. */",
            array(
                "const unsigned char",
                "op_needs[OP_COUNT][2]",
                [f"{{{p[0]}, {q[0]}}}" for p, q in pairs],
            ),
            "/* 1 or -1 where the derivative is that number, else 0. */",
            array(
                "const signed char",
                "op_constant[OP_COUNT][2]",
                [f"{{{p[1]}, {q[1]}}}" for p, q in pairs],
            ),
            "/* Values that are plain arithmetic: y has NumPy's bits. 0: no such value. */\n"
            "static inline AD_UNUSED int op_value_simple(int op, double a, double b, double *y)\n"
            "{\n    switch (op) {\n" + "".join(simple) + "    default: return 0;\n    }\n}\n",
            "/* Values from libm, which may differ from NumPy's in the last bits. */\n"
            "static AD_UNUSED double op_value(int op, double a, double b)\n"
            "{\n    switch (op) {\n" + "".join(values) + "    default: return NAN;\n    }\n}\n",
            "/* The derivative in operand k; unary rows read a. */\n"
            "static AD_UNUSED double op_partial(int op, int k, double a, double b, double y)\n"
            "{\n    switch (2 * op + k) {\n"
            + "".join(cases)
            + "    default: return 0.0;\n    }\n}",
            APPLY,
            "\n".join(kernels),
            f"/* The work space that a kernel needs, in blocks. */\n#define AD_WORK {work}\n",
            KERNELS,
            array(
                "const ad_kernel",
                "op_kernel[OP_COUNT][2]",
                [f"{{{p}, {q}}}" for p, q in pointers],
            ),
            TAIL,
        ]
    )


def generate(table_path, out_path):
    """Write the header, only if its text changed (so that nothing is rebuilt in vain).

    Parameters
    ----------
    table_path : path
        ``autodiff/primitives/table.py``.
    out_path : path
        The header to write.
    """
    text = header(runpy.run_path(str(table_path)))
    try:
        with open(out_path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        pass
    with open(out_path, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    generate(*sys.argv[1:])
