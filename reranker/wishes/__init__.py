"""Understand what a user asks for in words."""

from reranker.wishes.reader import WishReader, WishReading
from reranker.wishes.understood import UnderstoodBody, UnderstoodCondition, UnderstoodTitle, describe_understood, met_by

__all__ = [
    "UnderstoodBody",
    "UnderstoodCondition",
    "UnderstoodTitle",
    "WishReader",
    "WishReading",
    "describe_understood",
    "met_by",
]
