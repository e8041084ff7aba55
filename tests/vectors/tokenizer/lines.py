"""Makes the 1,000 lines of mixed text of the tokenizer tests, from a fixed seed. No line holds a line feed or NUL and
none ends in a carriage return, so that a line is the same to every reader; everything is valid UTF-8. The first lines
are hand-picked corner cases, the rest is drawn from the families below."""

import random
import unicodedata

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<repo_name>",
    "<file_sep>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|repo_name|>",
    "<tool_call>",
    "</tool_call>",
    "<bos>",
    "<eos>",
    "<pad>",
    "<unk>",
    "<mask>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<unused7>",
    "[multimodal]",
    "<start_of_image>",
    "<s>",
    "</s>",
    "<|begin_of_text|>",
    "<|eot_id|>",
    "[PAD151665]",
    "<0x41>",
    "<0x0A>",
    "<h1>",
    "</table>",
    "<td>",
    "<gh_stars>",
    "<empty_output>",
]

WORDS = """the of river stone lantern quietly seven orbit harbour because tangled neither copper window after whisper
engine Berlin Tuesday NASA iPhone eBay McDonald unbelievable antidisestablishmentarianism photosynthesis re-entry
co-operate well-known mother-in-law don't can't we'll I'm they've she'd y'all o'clock rock'n'roll DON'T CAN'T WE'LL It's
HTTPServer snake_case_name camelCaseName kebab-case-name SCREAMING_SNAKE e.g. i.e. etc. Mr. Dr. U.S.A. a.m.""".split()

ACCENTS = (
    """café naïve façade Übergröße straße Straßenbahnhaltestelle señor mañana coração às ângulo élève œuvre garçon
    Łódź żółć gęślą jaźń příliš žluťoučký kůň őrült árvíztűrő tükörfúrógép İstanbul ışık şeker çağ Đà Nẵng Việt ngữ
    phở Ærø blåbær smørrebrød Åse þorn ðeð ķēniņš ģimene ā ē ī ū ș ț ăâî Ωmega ŝanĝo ŭ""".split()
)

CJK = [
    "今日は天気がいいですね。",
    "東京都千代田区",
    "私は猫が好きです",
    "カタカナとひらがな",
    "ｶﾀｶﾅ",
    "你好，世界！",
    "我们明天去北京看长城。",
    "人工智能正在改变世界",
    "繁體中文測試",
    "「引號」與、頓號",
    "안녕하세요 세계",
    "한국어 문장을 나눕니다.",
    "가나다라마바사",
    "한글",
    "全角ＡＢＣ１２３",
    "㍿㌔㊙",
    "々〆ヶ",
    "𠮷野家",
    "龘靐齉",
    "第１２３回",
    "2026年11月23日",
    "3,000円",
    "中文English混排text测试",
]

OTHER = [
    "Привет, мир! Как дела?",
    "Съешь ещё этих мягких французских булок",
    "Ελληνικά γράμματα: άέήίόύώ",
    "Η ταχεία αλεπού",
    "مرحبا بالعالم، كيف حالك؟",
    "اللُّغَةُ العَرَبِيَّةُ",
    "۱۲۳۴۵۶۷۸۹۰",
    "١٢٣٤٥",
    "שלום עולם",
    "בְּרֵאשִׁית",
    "नमस्ते दुनिया",
    "हिन्दी में लिखना",
    "क्षत्रिय ज्ञान श्री",
    "१२३४५",
    "สวัสดีชาวโลก",
    "ภาษาไทยไม่มีช่องว่าง",
    "๑๒๓๔๕",
    "বাংলা ভাষা",
    "தமிழ் மொழி",
    "తెలుగు",
    "ಕನ್ನಡ",
    "മലയാളം",
    "ગુજરાતી",
    "ਪੰਜਾਬੀ",
    "සිංහල",
    "မြန်မာဘာသာ",
    "ភាសាខ្មែរ",
    "ລາວ",
    "ქართული ენა",
    "Հայերեն լեզու",
    "አማርኛ ቋንቋ",
    "ᏣᎳᎩ",
    "ᐃᓄᒃᑎᑐᑦ",
    "བོད་སྐད",
    "монгол хэл ᠮᠣᠩᠭᠣᠯ",
    "𐍈𐌰𐌿𐍂",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛",
    "𓀀𓁐",
]

EMOJI = [
    "😀",
    "😂🤣",
    "👍🏽",
    "👩‍💻",
    "👨‍👩‍👧‍👦",
    "🏳️‍🌈",
    "🏴‍☠️",
    "🇩🇪🇯🇵",
    "❤️",
    "❤",
    "☺️",
    "✈︎",
    "1️⃣#️⃣",
    "🤷🏻‍♀️",
    "🧑🏿‍🚀",
    "🫠",
    "🪿",
    "♟️",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "👁️‍🗨️",
    "🦄🌵🍕",
]

SYMBOLS = [
    "½ ¾ ⅓",
    "x² + y³ = z⁴",
    "H₂O CO₂",
    "Ⅳ Ⅻ ⅷ",
    "①②③",
    "€ £ ¥ ₹ ₿",
    "→ ⇒ ↔ ⟶",
    "∀x∈ℝ ∃y: x≤y ∧ y≠∞",
    "∑∏∫√",
    "α→β",
    "«quoted» „unten“ ‚x‘",
    "“curly” ‘single’ don’t",
    "—–-‐‑",
    "…",
    "•◦▪",
    "©®™",
    "§¶†‡",
    "°C µm Å",
    "№ ℃ ℉",
    "█▓▒░",
    "┌─┬─┐",
    "⠓⠑⠇⠇⠕",
    "♠♥♦♣",
    "½cup",
    "a‑b",
    "ﬁ ﬂ ﬀ",
    "Ǆ ǅ ǆ",
    "ſ ß ẞ",
    "K Å Ω",
]

CODE = [
    "for (int i = 0; i < n; i++) { sum += a[i]; }",
    "def f(x, *args, **kw): return x if x else None",
    "    return self.value  # comment",
    "\tif err != nil {",
    '\t\treturn nil, fmt.Errorf("bad: %w", err)',
    "#include <stdio.h>",
    "#define MAX(a,b) ((a)>(b)?(a):(b))",
    "SELECT id, COUNT(*) FROM t WHERE name LIKE '%x%' GROUP BY id;",
    '{"key": [1, 2.5, -3e10, null, true], "s": "\\u00e9"}',
    "<div class=\"box\" id='a1'>text &amp; more</div>",
    "<html><body><h1>Title</h1></body></html>",
    'git commit -m "fix: it\'s done" && git push',
    "curl -s https://example.org/a/b?x=1&y=%20z#frag | jq '.[] | .id'",
    "fn main() -> Result<(), Box<dyn Error>> {",
    "let v: Vec<_> = (0..10).map(|x| x * x).collect();",
    "const f = async ({a, b = 1}) => await g(`${a}-${b}`);",
    "x = 0xDEADBEEF ^ 0b1010 | 1_000_000",
    "\\frac{a}{b} + \\sqrt{x^2}",
    'print(f"{x!r:>10}")',
    "/* a */ // b",
    "a->b.c[3]++; *p = &q;",
    "!=  ==  ===  <=>  >>=  ::  ..=  ??  ?.",
    "@decorator",
    "$HOME/.config/${USER:-nobody}",
    "C:\\Users\\me\\file.txt",
    "::std::vector<int>{}",
    "                deep indentation",
    "        # eight",
    "  two",
    "   three",
    "var_1 = var_2+var_3;",
    "if(x){y();}else{z();}",
    "0.1+0.2!=0.3",
    "192.168.0.1:8080",
    "user.name+tag@mail.example.com",
    "sha256:9f86d081884c7d659a2feaa0c55ad015",
    "2026-11-23T22:15:00Z",
    "v1.2.3-rc.4+build.5",
    "==========",
    "----------",
    "**bold** _it_ `code` [a](b)",
    "- [x] done",
    "| a | b |",
    ">>> 1 + 1",
]

CONTROL = [chr(i) for i in range(1, 32) if i not in (10, 13)] + [
    "\x7f",
    "\x80",
    "\x85",
    "\x9f",
    "\u00a0",
    "\u00ad",
    "\u200b",
    "\u200c",
    "\u200d",
    "\u200e",
    "\u200f",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2060",
    "\u2066",
    "\u2069",
    "\ufeff",
    "\ufff9",
    "\ufffc",
    "\ufffd",
    "\ufffe",
    "\uffff",
    "\u3000",
    "\u2003",
    "\u2009",
    "\u202f",
    "\u205f",
    "\u1680",
    "\u180e",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1f",
    "\ue000",
    "\U0010ffff",
    "\U000e0001",
    "\U000f0000",
    "\u0378",
]

MARKS = [
    "\u0301",
    "\u0300",
    "\u0308",
    "\u0327",
    "\u0303",
    "\u030a",
    "\u0323",
    "\u0330",
    "\u20dd",
    "\u0489",
    "\u064b",
    "\u093c",
    "\u0e34",
    "\u3099",
    "\ufe0f",
    "\u034f",
]

CORNERS = [
    "",
    " ",
    "  ",
    "   ",
    "\t",
    "\t\t",
    " \t ",
    "a",
    " a",
    "a ",
    "  a  ",
    "\r\ra",
    "a\r b",
    "'s",
    "'S",
    "x's X'S x'LL 'll'll",
    "'",
    "''",
    "don't DON'T Don'T",
    "1",
    "12",
    "123",
    "1234",
    "12345678901234567890",
    "1 2 3",
    "a1b2c3",
    "3.14159",
    "1,234,567.89",
    "<|im_start|>user",
    "<|im_start|>user Hello<|im_end|><|im_start|>assistant",
    "<|im_end|><|im_end|>",
    "<|im_end",
    "<<|im_end|>>",
    " <|im_end|> ",
    "<start_of_turn>user hi<end_of_turn>",
    "<bos><bos>",
    "[multimodal]x",
    "▁",
    "▁▁",
    "a▁b",
    " ▁ ",
    "Ġ",
    "ĠĠ",
    "Ċ",
    "Ġthe",
    "<0x41>",
    "é",
    "e\u0301",
    "가",
    "\u1100\u1161",
    "Å",
    "A\u030a",
    "\u0301",
    "a" * 300,
    "ab" * 200,
    " " * 100,
    "\t" * 40,
    "." * 120,
    "=" * 77,
    "-" * 200,
    "!?" * 30,
    "あ" * 90,
    "😀" * 40,
    "0" * 100,
    "aA" * 60,
    "x " * 100,
    "  x" * 50,
    "\u200d" * 10,
    "\u00a0\u00a0\u00a0",
    "\u3000\u3000x",
    "a\u2028b",
    "\ufeffBOM",
    "…" * 20,
]


def sentence(draw, low=3, high=14):
    words = [draw.choice(WORDS) for _ in range(draw.randint(low, high))]
    return " ".join(words) + draw.choice([".", "!", "?", "", ";", "...", ":", " .", ")"])


def number(draw):
    return draw.choice(
        [
            str(draw.randrange(10 ** draw.randint(1, 18))),
            "%.3f" % draw.uniform(-1e4, 1e4),
            "%x" % draw.getrandbits(64),
            "%de-%d" % (draw.randrange(99), draw.randrange(30)),
            "+%d %03d %04d" % (draw.randrange(99), draw.randrange(999), draw.randrange(9999)),
            "{:,}".format(draw.randrange(10**9)),
            "%d%%" % draw.randrange(200),
            "$%d.%02d" % (draw.randrange(999), draw.randrange(99)),
            "%02d:%02d" % (draw.randrange(24), draw.randrange(60)),
        ]
    )


def scalar(draw):
    """Any code point a UTF-8 text may hold, each plane likely enough to appear. Not those without a meaning in
    Unicode 14: whether they count as letters depends on how new a program's tables are."""
    while True:
        top = draw.choice([0x80, 0x250, 0x800, 0x3100, 0x10000, 0x20000, 0x110000])
        point = draw.randrange(1, top)
        if point not in (10, 13) and not 0xD800 <= point < 0xE000 and unicodedata.category(chr(point)) != "Cn":
            return chr(point)


def marked(draw):
    return "".join(
        c + "".join(draw.choice(MARKS) for _ in range(draw.randint(0, 3)))
        for c in draw.choice(["zalgo", "cafe", "Angstrom", "nino", "한국", "abc def"])
    )


def spaced(draw):
    return "".join(
        draw.choice(WORDS + ["\t", "!", "1", "(", "é"])
        + draw.choice([" ", "  ", "   ", "\t", " \t", "    ", " " * draw.randint(5, 40), "\u00a0", "\u3000", ""])
        for _ in range(draw.randint(2, 10))
    )


def special(draw):
    parts = [
        draw.choice(
            [
                draw.choice(SPECIAL),
                draw.choice(SPECIAL),
                draw.choice(SPECIAL)[:-1],
                draw.choice(WORDS),
                " ",
                "  ",
                "",
                draw.choice(EMOJI),
            ]
        )
        for _ in range(draw.randint(2, 9))
    ]
    return draw.choice(["", " "]).join(parts)


def mixed(draw):
    return draw.choice(["", " ", " ", "\t"]).join(
        draw.choice(FAMILIES[:-1])(draw) for _ in range(draw.randint(2, 4))
    )[:400]


FAMILIES = [
    sentence,
    lambda d: " ".join(d.choice(ACCENTS) for _ in range(d.randint(2, 9))),
    lambda d: d.choice(["", " "]).join(d.choice(CJK) for _ in range(d.randint(1, 4))),
    lambda d: d.choice([" ", "", ", "]).join(d.choice(OTHER) for _ in range(d.randint(1, 3))),
    lambda d: "".join(d.choice(EMOJI) + d.choice(["", "", " ", d.choice(WORDS)]) for _ in range(d.randint(1, 8))),
    lambda d: " ".join(d.choice(SYMBOLS) for _ in range(d.randint(1, 4))),
    lambda d: d.choice(["", "  ", "    ", "\t"]) + d.choice(CODE),
    lambda d: d.choice([" ", "  ", "; "]).join(d.choice(CODE) for _ in range(d.randint(2, 3))),
    lambda d: d.choice([" ", ", ", "", "-"]).join(number(d) for _ in range(d.randint(1, 6))),
    lambda d: "".join(d.choice([d.choice(CONTROL), d.choice(WORDS), " "]) for _ in range(d.randint(3, 12))),
    marked,
    spaced,
    special,
    special,
    lambda d: "".join(d.choice("aAbB zZ019_-'\"!?.,:;/\\()[]{}<>|@#$%^&*+=~`") for _ in range(d.randint(1, 60))),
    lambda d: "".join(scalar(d) for _ in range(d.randint(1, 30))),
    lambda d: " ".join(w.upper() if d.random() < 0.3 else w.title() for w in sentence(d).split(" ")),
    mixed,
    mixed,
    mixed,
]


def make(count=1000, seed=20261123):
    draw = random.Random(seed)
    lines = list(CORNERS)
    while len(lines) < count:
        line = FAMILIES[len(lines) % len(FAMILIES)](draw).replace("\n", " ").replace("\0", "").rstrip("\r")
        lines.append(line)
    return lines
