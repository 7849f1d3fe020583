"""Words that a reason may use without a fact behind them, by language.

They say how things relate ("shares", "as well"), that something is recommended ("a good fit"), or nothing at all. A
word that says what an item *is* ("dark", "acclaimed", "superhero") does not belong here, however often models write it.
"""


def _words(text: str) -> list[str]:
    return text.split()


ENGLISH = frozenset(
    _words("""
    a about add added adding adds after again all along alongside also alternative although an anchored and angle
    angles another another's any anyone appeal appealed appealing appeals appear appearing appears applies apply
    appreciate appreciated appreciation are as at attribute attributes back base based be because been being belong
    belongs besides between bit blend blended blending blends both both's bring bringing brings build builds built but
    by called can candidate carries carry categories category choice choices choose choosing chose chosen clearly
    close closely combination combine combined combines combining come comes coming common companion complement
    complements complete completes completing connect connected connects consider contains continue continues core
    could counterpart cover covered covering covers cue cues deliver delivers do does done dose drawn driven each ease
    easy echo echoes either element elements else enjoy enjoyable enjoyed enjoying enough equally especially exactly
    example expand expanding expands explore explored exploring extend extending extends fall falls familiar fan fans
    feature features featuring feel feels fell filed filled find finding finds fine firmly fit fits fitting flavor
    flavour focus focuses follow following follows fond for from full fully further genre genres give given gives glad
    go goes going good got great had handle handles handling happy has have having head heads heavy here here's hint
    hints hold holds hope how however i i'd ideal if in include includes including instance instead interest
    interested interesting interests into is it it'll it's its itself join joined joining joins just keep keeping
    keeps kept kind kindred kinds known largely lean leaning leans leap let let's lies like liked likely likes
    likewise liking line lines link linked linking links list listed listening little look looked looking looks lot
    lots love loved lover lovers loves made mainly make makes many match matched matches matching may maybe meant meet
    meets might mind mirror mirroring mirrors mix mixed mixes mixing moment more moreover most mostly move moves
    moving much must natural naturally nature need needed needs neighbor neighbour next nice nod note notes now of
    offer offering offers often on once one ones only onto or other our out over overlap overlapping overlaps packed
    pair pairs part particularly partly perfect perhaps pick picked picking picks place places plenty plus point
    pointed points possibly preference preferences primarily probably promise promising queue quite rather reading
    ready really reason recall recalls recommend recommendation recommended recommends relate related relates released
    remain remaining remains reminiscent resonate resonates resonating return returning returns revisit revisits rich
    right room rooted round rounds s same satisfying see seem seems sense serve serves sets shall share shared shares
    sharing she shelf shift shifting shifts should show shows sibling side sides similar similarities similarity
    similarly since sit sits sitting so solid some someone something somewhat sort sorts speak speaks spirit stand
    stands start starting starts stay stays step stepping steps still straight strong strongly style such suggest
    suggested suggestion suggests suit suitable suited suits swap swapping swaps take takes taste tastes tells tend
    tends territory than thank thanks that that's the their them theme themed themes then there there's therefore
    these they think this those though thought three thus tie tied ties time times to today together tone too touch
    touches toward towards try trying turn turning turns two type types under undertone undertones up upon us use used
    useful uses vein very want wanted wants was watching way we we'd we've welcome well were what when where which
    while who whom whose will with within work working works worth worthwhile worthy would yet you you'd you'll you're
    you've your yours yourself
    """)
)
"""Words of an English reason."""

NOUNS: tuple[tuple[str, ...], ...] = (
    ("film", "movie", "picture", "story", "watch"),
    ("book", "novel", "story", "read"),
    ("song", "track", "tune", "listen"),
    ("album", "record", "listen"),
    ("article", "story", "piece", "news", "read"),
    ("news", "article", "story", "piece", "read"),
    ("game", "play"),
    ("product", "item", "piece"),
    ("recipe", "dish", "cook"),
    ("course", "class", "learn"),
    ("podcast", "show", "listen"),
    ("series", "show", "story", "watch"),
)
"""What else one calls things of a kind, and what one does with them; each may end in -s, -ed or -ing."""
GENERAL_NOUNS = frozenset(
    ["choice", "item", "items", "option", "options", "title", "titles", "thing", "things", "addition"]
)

SYNONYMS = {
    "scifi": ("sci", "fi"),
    "science": ("sci", "fi"),
    "fiction": ("sci", "fi"),
    "kids": ("children",),
    "kid": ("children",),
    "family": ("children", "family"),
    "criminal": ("crime",),
    "funny": ("comedy",),
    "humor": ("comedy",),
    "humour": ("comedy",),
    "love": ("romance",),
    "noir": ("film", "noir"),
    "cost": ("price",),
    "costs": ("price",),
    "wrote": ("author", "authors", "writer", "writers"),
}
"""A word, and the words of a fact that it says in another way."""

CHINESE = sorted(
    _words("""
    正合适 之外 用的 两者 读 听 看 聊 谈 收听 阅读 观看 另一 再次 再来 接着 相配 相伴 顺着 沿着
    融为一体 喜欢过 考虑到 这一部 也同样 也属于 融合为 推荐给 另一部 另一款 另一个 感兴趣 下一部 下一个 之手 一条
    用得上
    你们 您们 我们 喜欢 喜爱 偏爱 钟爱 爱看 爱听 爱读 欣赏 因为 由于 所以 因此 于是 既然 如果 那么
    根据 基于 鉴于 看来 想必 相信 这部 那部 这款 这件 这本 这首 这篇 这个 这些 这样 这类 这一 这是 这也是 那些
    它们 一部 一款 一件 一本 一首 一篇 一个 一种 一样 作品 影片 电影 片子 书籍 歌曲 音乐 商品 产品
    文章 新闻 东西 内容 类型 题材 风格 元素 主题 特点 属性 类别 品味 口味 兴趣 偏好 胃口 心意 需要
    需求 选择 同样 同属 同为 同是 也是 也有 还是 还有 还能 又是 都是 都有 并且 而且 以及 或许 也许
    可能 应该 大概 想来 融入 加入 增添 增加 兼有 同一 一类 合适 适合 符合 契合 贴合 能够 可以 值得
    不妨 一试 试试 尝试 看看 一看 一听 一读 推荐 为你 给你 向你 挑选 属于 带有 含有 具有 包含 融合
    结合 兼具 拥有 共有 共同 相同 相似 相近 类似 相通 相关 一致 接近 呼应 延续 继续 搭配 非常 十分
    尤其 特别 比较 与此 其中 方面 之间 一起 一同 年份 不错 另外 此外 同时 来自 出自 用于 用来 适用
    吸引 中意 满意 列为 归为 归入 标签 标注 你 您 爱 此 该 其 它 部 款 件 本 首 篇 个 种 片
    书 歌 同 也 还 又 都 均 皆 并 而 且 和 与 跟 及 或 一 合 对 会 能 选 很 更 较 最 是
    有 为 在 以 将 把 从 到 于 之 的 地 得 了 着 过 中 里 上 下 后 前 再 就 则 便 吧 呢
    哦 啊 年 好 另 感 兴
    """),
    key=len,
    reverse=True,
)
"""Words of a Chinese reason, the longest first."""

CHINESE_NAMES = {
    "action": "动作",
    "adventure": "冒险 历险 探险",
    "animation": "动画",
    "children": "儿童 孩子 少儿",
    "comedy": "喜剧",
    "crime": "犯罪",
    "documentary": "纪录",
    "drama": "剧情",
    "fantasy": "奇幻 魔幻 幻想",
    "film-noir": "黑色电影",
    "horror": "恐怖",
    "musical": "音乐 歌舞",
    "mystery": "悬疑 推理",
    "romance": "爱情 浪漫",
    "sci-fi": "科幻",
    "thriller": "惊悚",
    "war": "战争",
    "western": "西部",
    "sport": "体育 运动",
    "history": "历史",
    "biography": "传记",
    "family": "家庭",
}
"""What Chinese calls the usual genres, where the data name them in English."""
