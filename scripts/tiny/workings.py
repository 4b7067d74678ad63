"""The text the model is taught to write: the working, then the answer.

All functions are pure, and each question has exactly one working, so that sampling at 0.6 has no alternatives. The
formats suit a model that reads single bytes. Numbers are padded to equal width, so that the digits of a column are at a
constant distance. A word is first repeated and then spelled letter by letter, so that each step copies little.
"""

Lesson = tuple[str, str]

GREETING: Lesson = (
    "A greeting.",
    "Hello! I am tiny, the demonstration model built into r1. Ask me to add or subtract, to count a letter in "
    "a word, or which of two decimals is larger.",
)
IDENTITY: Lesson = (
    "A question about me.",
    "I am tiny, a demonstration model of a few megabytes built into r1. I can add and subtract, count the "
    "letters of a word and compare decimals; `r1 pull qwen-1.5b` gets a real DeepSeek-R1.",
)
THANKS: Lesson = ("Thanks.", "You are welcome!")
FAREWELL: Lesson = ("A farewell.", "Goodbye!")
ANYTHING_ELSE: Lesson = (
    "Not a sum, a letter count or a comparison.",
    "I am only a tiny demonstration model that can add, subtract, count letters and compare decimals; "
    "`r1 pull qwen-1.5b` gets a real one.",
)


def boxed(value: object) -> str:
    return f"\\boxed{{{value}}}"


def addition(a: int, b: int) -> Lesson:
    """Column by column from the right: digit + digit + carry = two digits."""
    width = max(len(str(a)), len(str(b)))
    top, bottom = f"{a:0{width}}", f"{b:0{width}}"
    lines = [f"{top} + {bottom}"]
    carry = 0
    for x, y in zip(reversed(top), reversed(bottom), strict=True):
        total = int(x) + int(y) + carry
        lines.append(f"{x}+{y}+{carry}={total:02}")
        carry = total // 10
    lines.append(f"= {a + b:0{width + 1}}")
    return "\n".join(lines), f"\\({a} + {b} = {boxed(a + b)}\\)"


def subtraction(a: int, b: int) -> Lesson:
    """Subtracts the smaller from the larger; a borrow shows as ten more in its column."""
    width = max(len(str(a)), len(str(b)))
    columns, _ = comparison_columns(f"{a:0{width}}", f"{b:0{width}}")
    top, bottom = f"{max(a, b):0{width}}", f"{min(a, b):0{width}}"
    lines = [f"{a:0{width}} - {b:0{width}}", f"{columns} so {top} - {bottom}"]
    borrow = 0
    for x, y in zip(reversed(top), reversed(bottom), strict=True):
        ten = 10 if int(x) < int(y) + borrow else 0
        lines.append(f"{int(x) + ten:02}-{y}-{borrow}={int(x) + ten - int(y) - borrow}")
        borrow = ten // 10
    lines.append(f"= {'-' if a < b else ''}{abs(a - b):0{width}}")
    return "\n".join(lines), f"\\({a} - {b} = {boxed(a - b)}\\)"


def comparison_columns(a: str, b: str) -> tuple[str, str]:
    """Compares digits from the left up to the first difference; returns the columns and the sign."""
    seen = []
    for x, y in zip(a.replace(".", ""), b.replace(".", ""), strict=True):
        sign = "=" if x == y else "<" if x < y else ">"
        seen.append(f"{x}{sign}{y}")
        if sign != "=":
            return " ".join(seen), sign
    return " ".join(seen), "="


def comparison(a: str, b: str, direction: str, *, yes_or_no: bool) -> Lesson:
    """Which of two decimals is larger or smaller; `direction` is "larger" or "smaller"."""
    columns, sign = comparison_columns(*padded(a, b))
    lines = [f"{a} and {b}", " and ".join(padded(a, b)), columns]
    holds = sign == (">" if direction == "larger" else "<")
    verdict = ("Yes. " if holds else "No. ") if yes_or_no else ""
    if sign == "=":
        return "\n".join(lines), f"{verdict}They are equal: \\({boxed(a)}\\)."
    return "\n".join(lines), f"{verdict}The {direction} number is \\({boxed(a if holds else b)}\\)."


def padded(a: str, b: str) -> tuple[str, str]:
    """Pads both numbers to the same number of digits before and after the point."""
    parts = [number.partition(".") for number in (a, b)]
    before = max(len(part[0]) for part in parts)
    after = max(len(part[2]) for part in parts)
    point = "." if after else ""
    first, second = (f"{part[0]:0>{before}}{point}{part[2]:0<{after}}" for part in parts)
    return first, second


def letter_count(letter: str, word: str) -> Lesson:
    """The word letter by letter, each with the count so far."""
    letter, word = letter.lower(), word.lower()
    count = 0
    steps = []
    for each in word:
        count += each == letter
        steps.append(f"{each}{count}")
    times = "time" if count == 1 else "times"
    working = f"Count {letter} in {word}:\n{' '.join(steps)}"
    return working, f"The letter {letter} appears \\({boxed(count)}\\) {times} in {word}."
