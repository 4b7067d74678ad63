r"""LaTeX commands: their arguments and their text.

pylatexenc knows hundreds of symbols; this module has those that it lacks or writes differently, and all commands with
a special layout, such as fractions. A layout gets its arguments from the writer that is passed to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from pylatexenc.latex2text import MacroTextSpec, SpecialsTextSpec
from pylatexenc.latex2text import get_default_latex_context_db as known_texts
from pylatexenc.latexwalker import get_default_latex_context_db as known_syntax
from pylatexenc.macrospec import MacroSpec, SpecialsSpec, std_macro

from r1.markdown import notation

BOX, BOX_END = "\x02", "\x03"  # around boxed text
WIDE_SPACE = "\u00a0"  # not merged when runs of spaces become one
SPACED = frozenset("≤≥≠≈≡∼≅∝→←↔⟶⟹⟸⟺⇒⇐⇔∈∉⊂⊆⊃⊇∣∥↦∪∩∧∨⩽⩾×÷·±∓") | {"mod"}
_NAMES = """sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp lim max min sup inf det dim ker
    deg arg gcd lcm Pr"""
FUNCTIONS = frozenset(_NAMES.split())
_SYMBOLS = {
    **{name: name for name in FUNCTIONS},
    **{"implies": "⟹", "impliedby": "⟸", "iff": "⟺", "gets": "←", "ne": "≠", "lt": "<", "gt": ">"},
    **{"land": "∧", "lor": "∨", "neg": "¬", "triangle": "△", "degree": "°", "checkmark": "✓", "colon": ":"},
    **{"|": "‖", "Re": "Re", "Im": "Im", "bmod": "mod", "mod": "mod", "blacksquare": "■", "leq": "≤", "geq": "≥"},
    **{"quad": WIDE_SPACE * 2, "qquad": WIDE_SPACE * 4, " ": " ", "cdot": "·", "ast": "*", "iint": "∬", "Box": "□"},
    **{"middot": "·", "dotsc": "…", "dotsb": "⋯", "vert": "|", "rVert": "‖", "lVert": "‖"},
}
_INVISIBLE = "displaystyle textstyle scriptstyle limits nolimits hline notag nonumber"
_SIZES = [f"{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "r", "m")]
_FENCES = {"left", "right", "middle", *_SIZES}  # followed by a bracket
_AS_WRITTEN = "text textbf textit textrm texttt textsf mbox mathrm mathbf mathit mathsf mathtt boldsymbol bm mathcal"
_PLAIN = "mathcal mathscr underline underbrace overbrace mathop mathrel mathbin pmb bold hbox"
MATRICES = {
    "pmatrix": ("(", ")"),
    "bmatrix": ("[", "]"),
    "vmatrix": ("|", "|"),
    "Vmatrix": ("‖", "‖"),
    "Bmatrix": ("{", "}"),
    "cases": ("{", ""),
    **dict.fromkeys(["matrix", "smallmatrix", "array"], ("", "")),
}
ALIGNED = {"aligned", "align", "alignat", "gathered", "gather", "split", "equation", "eqnarray", "multline", "flalign"}


class Writer(Protocol):
    """Converts the arguments of a command to text."""

    def argument(self, node: Any, index: int, *, is_text: bool = False) -> str: ...


_Layout = Callable[[Any, Writer], str]


def _layouts() -> dict[str, tuple[str, _Layout]]:
    """Command → its arguments in pylatexenc's notation (`{`: mandatory, `[`: optional, `*`: star), and its layout."""
    fraction = ("{{", lambda node, l2tobj: notation.fraction(l2tobj.argument(node, 0), l2tobj.argument(node, 1)))
    choose = ("{{", lambda node, l2tobj: f"C({l2tobj.argument(node, 0)}, {l2tobj.argument(node, 1)})")
    box = ("{", lambda node, l2tobj: f"{BOX}{re.sub(f'[{BOX}{BOX_END}]', '', l2tobj.argument(node, 0))}{BOX_END}")
    text = ("{", lambda node, l2tobj: l2tobj.argument(node, 0, is_text=True))
    plain = ("{", lambda node, l2tobj: l2tobj.argument(node, 0))
    nothing = ("{", lambda *_: "")
    fence = ("{", lambda node, l2tobj: l2tobj.argument(node, 0).strip().removesuffix("."))
    over = ("{{", lambda node, l2tobj: l2tobj.argument(node, 1) + notation.raised(l2tobj.argument(node, 0)))
    under = ("{{", lambda node, l2tobj: l2tobj.argument(node, 1) + notation.lowered(l2tobj.argument(node, 0)))
    return {
        **dict.fromkeys(["frac", "dfrac", "tfrac", "cfrac"], fraction),
        **dict.fromkeys(["binom", "dbinom", "tbinom"], choose),
        **dict.fromkeys(["boxed", "fbox"], box),
        **dict.fromkeys(_AS_WRITTEN.split(), text),
        **dict.fromkeys(_PLAIN.split(), plain),
        **dict.fromkeys(["label", "phantom", "vphantom", "hphantom", "color"], nothing),
        **dict.fromkeys(sorted(_FENCES), fence),
        **dict.fromkeys(["overset", "stackrel"], over),
        "underset": under,
        "sqrt": ("[{", lambda node, l2tobj: notation.root(l2tobj.argument(node, 1), l2tobj.argument(node, 0))),
        "pmod": ("{", lambda node, l2tobj: f" (mod {l2tobj.argument(node, 0)})"),
        "tag": ("*{", lambda node, l2tobj: f"{WIDE_SPACE * 2}({l2tobj.argument(node, 1)})"),
        "operatorname": ("*{", lambda node, l2tobj: f" {l2tobj.argument(node, 1)} "),
        "textcolor": ("{{", lambda node, l2tobj: l2tobj.argument(node, 1)),
        "xrightarrow": ("[{", lambda node, l2tobj: f" →{notation.raised(l2tobj.argument(node, 1))} "),
        "overline": ("{", lambda node, l2tobj: notation.over_each(l2tobj.argument(node, 0), "\u0305")),
        "overrightarrow": ("{", lambda node, l2tobj: notation.over_each(l2tobj.argument(node, 0), "\u20d7")),
        "cancel": ("{", lambda node, l2tobj: notation.over_each(l2tobj.argument(node, 0), "\u0336")),
    }


@cache
def syntax() -> Any:
    """The commands and their arguments, for the parser."""
    known = known_syntax().filter_context(keep_categories=["latex-base"])
    layouts = [std_macro(name, arguments) for name, (arguments, _) in _layouts().items()]
    others = [MacroSpec(name) for name in (*_SYMBOLS, *_INVISIBLE.split())]
    scripts = [SpecialsSpec(sign, args_parser=std_macro("x", "{").args_parser) for sign in "^_"]
    spaces = [SpecialsSpec("~")]
    known.add_context_category("r1", macros=layouts + others, specials=scripts + spaces, prepend=True)
    return known


@cache
def texts() -> Any:
    """The commands and their text, for the converter."""
    kept = ["latex-base", "latex-approximations", "advanced-symbols"]
    known = known_texts().filter_context(keep_categories=kept)
    layouts = [MacroTextSpec(name, simplify_repl=layout) for name, (_, layout) in _layouts().items()]
    symbols = [MacroTextSpec(name, simplify_repl=text) for name, text in _SYMBOLS.items()]
    invisible = [MacroTextSpec(name, discard=True) for name in _INVISIBLE.split()]
    scripts = [
        SpecialsTextSpec("^", simplify_repl=lambda node, l2tobj: notation.raised(l2tobj.argument(node, 0))),
        SpecialsTextSpec("_", simplify_repl=lambda node, l2tobj: notation.lowered(l2tobj.argument(node, 0))),
        SpecialsTextSpec("~", simplify_repl=" "),
        SpecialsTextSpec("&", simplify_repl=" "),
    ]
    known.add_context_category("r1", macros=layouts + symbols + invisible, specials=scripts, prepend=True)
    return known
