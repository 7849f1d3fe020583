"""Express how long ago something was."""

_DAY = 86_400
_UNITS = (
    (365.25 * _DAY, "year", "年"),
    (30.44 * _DAY, "month", "个月"),
    (7 * _DAY, "week", "周"),
    (_DAY, "day", "天"),
    (3600, "hour", "小时"),
)


def ago(timestamp: int | None, now: int | None, *, locale: str = "en") -> str | None:
    """Return the age in whole units of the largest size that fits. It changes rarely, so the prompt's prefix stays
    cached.

    Args:
        timestamp: seconds since 1970; None gives None.
        now: current time in seconds since 1970. Later timestamps are "just now", because clocks differ.
        locale: ``zh`` for Chinese; anything else is English.

    >>> ago(0, 3 * 86_400), ago(0, 3 * 86_400, locale="zh")
    ('3 days ago', '3天前')
    """
    if timestamp is None or now is None:
        return None
    chinese = locale.startswith("zh")
    for seconds, name, name_zh in _UNITS:
        count = int((now - timestamp) / seconds)
        if count >= 1:
            return f"{count}{name_zh}前" if chinese else f"{count} {name}{'s' if count > 1 else ''} ago"
    return "刚刚" if chinese else "just now"
