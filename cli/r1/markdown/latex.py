r"""LaTeX commands: their arguments and what they show.

pylatexenc knows hundreds of symbols; this module has those that it lacks or writes differently, and all commands with
a special layout, such as fractions. A layout gets its arguments from the writer that is passed to it. A command that is
in neither is unknown: it stays visible as its source.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from pylatexenc.latex2text import get_default_latex_context_db as known_texts
from pylatexenc.latexwalker import get_default_latex_context_db as known_syntax
from pylatexenc.macrospec import MacroSpec, SpecialsSpec, std_macro

from r1.markdown import notation
from r1.markdown.atoms import BOX, BOX_END, WIDE_SPACE, Atom, Kind, joined
from r1.markdown.precedence import binomial, fraction, grouped, root, scripted

_NAMES = """sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh coth log ln lg exp det dim ker deg arg
    gcd lcm Pr sgn sech csch hom tr rank"""
_LIMITS = ("lim", "max", "min", "sup", "inf", "argmax", "argmin")  # names of operators that have limits
FUNCTIONS = frozenset((*_NAMES.split(), *_LIMITS))
_SYMBOLS = {
    **{name: name for name in FUNCTIONS},
    **{"limsup": "lim sup", "liminf": "lim inf"},
    **{"implies": "⟹", "impliedby": "⟸", "iff": "⟺", "gets": "←", "ne": "≠", "lt": "<", "gt": ">"},
    **{"land": "∧", "lor": "∨", "neg": "¬", "triangle": "△", "degree": "°", "checkmark": "✓", "colon": ":"},
    **{"|": "‖", "Re": "Re", "Im": "Im", "bmod": "mod", "mod": "mod", "blacksquare": "■", "leq": "≤", "geq": "≥"},
    **{"quad": WIDE_SPACE * 2, "qquad": WIDE_SPACE * 4, " ": " ", "cdot": "·", "ast": "*", "iint": "∬", "Box": "□"},
    **{"middot": "·", "dotsc": "…", "dotsb": "⋯", "dotsm": "⋯", "dots": "…", "vert": "|", "Vert": "‖", "mid": "∣"},
    **{"rvert": "|", "lvert": "|", "rVert": "‖", "lVert": "‖", "lbrack": "[", "rbrack": "]", "lbrace": "{"},
    **{"rbrace": "}", "bigcup": "⋃", "bigcap": "⋂", "thinspace": " ", "medspace": " ", "thickspace": " ", ">": " "},
    **{"%": "%", "newline": " ", "space": " ", "enspace": " ", "lq": "‘", "rq": "’", "backslash": "\\"},
    **{"imath": "ı", "jmath": "ȷ", "leadsto": "↝", "models": "⊨", "bot": "⊥", "S": "§", "P": "¶", "copyright": "©"},
    **{"clubsuit": "♣", "spadesuit": "♠", "heartsuit": "♥", "diamondsuit": "♦", "bigstar": "★", "euro": "€"},
    **{"pounds": "£", "ddag": "‡", "owns": "∋", "uplus": "⊎", "biguplus": "⨄", "bigsqcup": "⨆", "ldotp": "."},
    **{"dagger": "†", "ddagger": "‡", "prime": "′", "square": "□", "qed": "∎", "degreeCelsius": "°C"},
}
_UNKNOWN = {"today", "\\", "-", "item", "vspace", "hspace"}  # what pylatexenc says about them is no symbol
_INVISIBLE = """displaystyle textstyle scriptstyle scriptscriptstyle limits nolimits hline notag nonumber ! centering
    negthinspace bf it rm displaylimits allowbreak break nobreak noindent strut mathstrut hfill
    smallskip medskip bigskip linebreak par tiny small normalsize large Large huge itshape bfseries"""
_SIZES = [f"{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "r", "m")]
_FENCES = {"left", "right", "middle", *_SIZES}  # followed by a bracket
_TEXT = "text textbf textit textrm texttt textsf textsc textmd textup textsl textnormal emph mbox hbox intertext"
_LETTERS = """mathrm mathbf mathit mathsf mathtt mathnormal boldsymbol bm mathcal mathscr mathop mathrel mathbin mathord
    mathopen mathclose mathpunct mathinner pmb bold symbf symbfit underline underbar substack smash ensuremath
    overbracket underbracket"""
_ALPHABETS = ("mathbb", "mathfrak", "mathds", "Bbb")
_ACCENTS = {
    **{"hat": "\u0302", "widehat": "\u0302", "bar": "\u0304", "vec": "\u20d7", "dot": "\u0307", "ddot": "\u0308"},
    **{"tilde": "\u0303", "widetilde": "\u0303", "check": "\u030c", "breve": "\u0306", "acute": "\u0301"},
    **{"grave": "\u0300", "mathring": "\u030a", "overline": "\u0305", "overrightarrow": "\u20d7", "not": "\u0338"},
    **{
        "overleftrightarrow": "\u20e1",
        "cancel": "\u0336",
        "bcancel": "\u0336",
        "xcancel": "\u0336",
        "overleftarrow": "\u20d6",
        "sout": "\u0336",
    },
}
_LETTER_ACCENTS = frozenset("'`\"^~=.") | set("cHkbdruv")  # in text: \'e; the converter of pylatexenc knows them
_MARKED = {"\u0305", "\u20e1", "\u20d7", "\u20d6", "\u0336", "\u0302", "\u0303"}  # may be over several letters
MATRICES = {
    "pmatrix": ("(", ")"),
    "bmatrix": ("[", "]"),
    "vmatrix": ("|", "|"),
    "Vmatrix": ("‖", "‖"),
    "Bmatrix": ("{", "}"),
    "cases": ("{", ""),
    "dcases": ("{", ""),
    "rcases": ("", "}"),
    **dict.fromkeys(["matrix", "smallmatrix", "array"], ("", "")),
}
ALIGNED = {
    *("aligned", "align", "alignat", "alignedat", "gathered", "gather", "split", "equation", "eqnarray", "multline"),
    *("flalign", "math", "displaymath"),
}
_RELATIONS = "=<>≤≥≠≈≡∼≅∝→←↔⟶⟵⟷⟹⟸⟺⇒⇐⇔∈∉∋⊂⊄⊆⊈⊃⊇∣∤∥∦↦⩽⩾≪≫≺≻≼≽⊥∴∵≃≜≐⊢⊨≦≧≲≳⟼↪↠∽≁≢≮≯≰≱≍≊⇌↝⊑⊒"
_KINDS = {
    **dict.fromkeys(_RELATIONS, Kind.RELATION),
    **dict.fromkeys("+-−±∓", Kind.SUM),
    **dict.fromkeys("∪∩∧∨∖⊕⊗⊎⊔⊓⊙⊖∆", Kind.OPERATOR),
    **dict.fromkeys(("·", "×", "÷", "⋅", "mod"), Kind.TIMES),
    **dict.fromkeys("/*∗∘⋆", Kind.SLASH),
    **dict.fromkeys("∑∏∐∫∬∭∮⋃⋂⋁⋀⨄⨆", Kind.BIG),
    **dict.fromkeys((*_LIMITS, "lim sup", "lim inf"), Kind.BIG),
    **dict.fromkeys(FUNCTIONS - set(_LIMITS), Kind.FUNCTION),
    **dict.fromkeys("([{⌊⌈⟨⟦", Kind.OPEN),
    **dict.fromkeys(")]}⌋⌉⟩⟧", Kind.CLOSE),
    **dict.fromkeys("|‖", Kind.BAR),
    **dict.fromkeys(",;.。，、；", Kind.COMMA),
    ":": Kind.COLON,
    **dict.fromkeys("!%", Kind.POSTFIX),
}


def kind_of(text: str, name: str = "") -> Kind:
    """The kind of a symbol, by its text, and by its command where the text says too little."""
    if name in {"lvert", "lVert", "rvert", "rVert"}:
        return Kind.OPEN if name[0] == "l" else Kind.CLOSE
    if name in {"bigoplus", "bigotimes", "bigodot"}:
        return Kind.BIG
    if text.isspace():
        return Kind.SPACE
    if text.isdecimal():
        return Kind.NUMBER
    return _KINDS.get(text) or (Kind.RELATION if text and all(sign in _RELATIONS for sign in text) else Kind.LETTER)


class Writer(Protocol):
    """Converts the arguments of a command."""

    def argument(self, node: Any, index: int) -> list[Atom]: ...
    def words(self, node: Any, index: int) -> str: ...
    def letters(self, node: Any) -> str: ...


_Layout = Callable[[Any, Writer], list[Atom]]


def _fraction(node: Any, writer: Writer) -> list[Atom]:
    return [fraction(writer.argument(node, 0), writer.argument(node, 1))]


def _continued_fraction(node: Any, writer: Writer) -> list[Atom]:
    return [fraction(writer.argument(node, 1), writer.argument(node, 2))]


def _choose(node: Any, writer: Writer) -> list[Atom]:
    return [binomial(writer.argument(node, 0), writer.argument(node, 1))]


def _box(node: Any, writer: Writer) -> list[Atom]:
    inner = [atom for atom in writer.argument(node, 0) if atom.kind is not Kind.MARK]
    return [Atom(BOX, Kind.MARK), *inner, Atom(BOX_END, Kind.MARK)]


def _words(node: Any, writer: Writer) -> list[Atom]:
    words = writer.words(node, 0)
    return [Atom(words, Kind.SPACE if words.isspace() else Kind.WORD)] if words else []


def _letters(node: Any, writer: Writer) -> list[Atom]:
    r"""`\mathrm{max}` is one word, `\mathbf{v}` one letter, `\mathrm{sin}` a function."""
    atoms = writer.argument(node, 0)
    name = "".join(map(str, atoms))
    if len(name) > 1 and name.isalpha() and all(atom.kind is Kind.LETTER for atom in atoms):
        kind = kind_of(name)
        return [Atom(name, Kind.WORD if kind is Kind.LETTER else kind)]
    return atoms


def _operator(node: Any, writer: Writer) -> list[Atom]:
    name = joined(writer.argument(node, 1)).strip()
    is_star = bool(node.nodeargd.argnlist[0])
    return [Atom(name, Kind.BIG if is_star or name in _LIMITS else Kind.FUNCTION)]


def _alphabet(node: Any, writer: Writer) -> list[Atom]:
    text = writer.letters(node)
    return [Atom(text, Kind.LETTER if len(text) == 1 else Kind.WORD)]


def _accented(node: Any, writer: Writer) -> list[Atom]:
    sign, atoms = _ACCENTS[node.macroname], writer.argument(node, 0)
    text = joined(atoms).strip()
    if "\\" in text:  # an unknown command
        return [Atom(str(node.latex_verbatim()), Kind.WORD)]
    if len(text) > 1 and sign not in _MARKED:
        text, atoms = str(grouped(atoms)), []
    text = unicodedata.normalize("NFC", notation.over_each(text, sign))
    if sign == "\u0338":
        return [Atom(text, Kind.RELATION)]
    kinds = {atom.kind for atom in atoms}
    kind = kinds.pop() if len(kinds) == 1 and len(atoms) == 1 else Kind.NUMBER if text[:1].isdigit() else Kind.GROUP
    return [Atom(text, kind)] if text else []


def _fence(node: Any, writer: Writer) -> list[Atom]:
    text = joined(writer.argument(node, 0)).strip()
    kind = {"left": Kind.OPEN, "right": Kind.CLOSE, "middle": Kind.COLON}.get(node.macroname)
    kind = kind or {"l": Kind.OPEN, "r": Kind.CLOSE, "m": Kind.COLON}.get(node.macroname[-1]) or kind_of(text)
    return [Atom("" if text == "." else text, kind)]


def _over(node: Any, writer: Writer) -> list[Atom]:
    above, below = joined(writer.argument(node, 0)), writer.argument(node, 1)
    if above.strip() in {"⌢", "⌒"}:
        return [Atom(f"⌒{joined(below).strip()}", Kind.GROUP)]
    return [scripted(below, upper=notation.raised(above))]


def _under(node: Any, writer: Writer) -> list[Atom]:
    return [scripted(writer.argument(node, 1), lower=notation.lowered(joined(writer.argument(node, 0))))]


def _root(node: Any, writer: Writer) -> list[Atom]:
    degree = joined(writer.argument(node, 0)).strip()
    sign = {"": "√", "2": "√", "3": "∛", "4": "∜"}.get(degree) or f"{notation.raised(degree)}√"
    return [root(sign, writer.argument(node, 1))]


def _modulus(node: Any, writer: Writer) -> list[Atom]:
    return [Atom(f" (mod {joined(writer.argument(node, 0))})", Kind.WORD)]


def _tag(node: Any, writer: Writer) -> list[Atom]:
    return [Atom(WIDE_SPACE * 2, Kind.SPACE), Atom(f"({joined(writer.argument(node, 1))})", Kind.GROUP)]


def _arc(node: Any, writer: Writer) -> list[Atom]:
    return [Atom(f"⌒{joined(writer.argument(node, 0)).strip()}", Kind.GROUP)]


def _arrow(node: Any, writer: Writer) -> list[Atom]:
    arrows = {"xrightarrow": "→", "xleftarrow": "←", "xRightarrow": "⇒", "xLeftarrow": "⇐"}
    return [Atom(arrows[node.macroname], Kind.RELATION, upper=notation.raised(joined(writer.argument(node, 1))))]


def _brace(node: Any, writer: Writer) -> list[Atom]:
    return [grouped(writer.argument(node, 0))]


def _nothing(_node: Any, _writer: Writer) -> list[Atom]:
    return []


@cache
def layouts() -> dict[str, tuple[str, _Layout]]:
    """Command → its arguments in pylatexenc's notation (`{`: mandatory, `[`: optional, `*`: star), and its layout."""
    last = ("{{", lambda node, writer: writer.argument(node, 1))
    return {
        **dict.fromkeys(["frac", "dfrac", "tfrac", "nicefrac", "sfrac"], ("{{", _fraction)),
        "cfrac": ("[{{", _continued_fraction),
        **dict.fromkeys(["binom", "dbinom", "tbinom"], ("{{", _choose)),
        **dict.fromkeys(["boxed", "fbox"], ("{", _box)),
        **dict.fromkeys(_TEXT.split(), ("{", _words)),
        **dict.fromkeys(_LETTERS.split(), ("{", _letters)),
        **dict.fromkeys(_ALPHABETS, ("{", _alphabet)),
        **dict.fromkeys(_ACCENTS, ("{", _accented)),
        **dict.fromkeys(["underbrace", "overbrace"], ("{", _brace)),
        **dict.fromkeys(["label", "phantom", "vphantom", "hphantom", "color"], ("{", _nothing)),
        **dict.fromkeys(["hspace", "vspace"], ("*{", _nothing)),
        **dict.fromkeys(sorted(_FENCES), ("{", _fence)),
        **dict.fromkeys(["overset", "stackrel"], ("{{", _over)),
        **dict.fromkeys(["textcolor", "colorbox"], last),
        "underset": ("{{", _under),
        "sqrt": ("[{", _root),
        "pmod": ("{", _modulus),
        "tag": ("*{", _tag),
        "operatorname": ("*{", _operator),
        **dict.fromkeys(["xrightarrow", "xleftarrow", "xRightarrow", "xLeftarrow"], ("[{", _arrow)),
        **dict.fromkeys(["wideparen", "overparen", "overarc", "arc"], ("{", _arc)),
    }


@cache
def symbol(name: str) -> str | None:
    """The text of a command without arguments; None for any other."""
    if name in _SYMBOLS:
        return _SYMBOLS[name]
    if name in _INVISIBLE.split():
        return ""
    known = _known_texts().get_macro_spec(name)
    text = known.simplify_repl if known else None
    is_plain = isinstance(text, str) and "%" not in text and name not in _UNKNOWN
    return text if is_plain else None


def is_accent(name: str) -> bool:
    r"""Whether it puts an accent on a letter of a text, such as `\'e`."""
    return name in _LETTER_ACCENTS


@cache
def _known_texts() -> Any:
    kept = ["latex-base", "latex-approximations", "advanced-symbols"]
    return known_texts().filter_context(keep_categories=kept)


@cache
def syntax() -> Any:
    """The commands and their arguments, for the parser."""
    known = known_syntax().filter_context(keep_categories=["latex-base"])
    shaped = [std_macro(name, arguments) for name, (arguments, _) in layouts().items()]
    others = [MacroSpec(name) for name in (*_SYMBOLS, *_INVISIBLE.split(), "\\", *_UNKNOWN) if name not in layouts()]
    scripts = [SpecialsSpec(sign, args_parser=std_macro("x", "{").args_parser) for sign in "^_"]
    known.add_context_category("r1", macros=shaped + others, specials=[*scripts, SpecialsSpec("~")], prepend=True)
    return known
