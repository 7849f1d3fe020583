"""Recommendations in the store: log and look up the answers that were given."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from sqlalchemy import insert, select

from retrieval.store import tables
from retrieval.store.base import StorePart, canonical_json, chunks
from retrieval.store.records import LoggedRecommendation


class AnswersPart(StorePart):
    """Methods of the store about answers."""

    def log_recommendations(self, answers: Sequence[LoggedRecommendation]) -> None:
        """Store answers that were given. An answer to a user whom the store does not know is stored without the user.
        One that is stored already is left as it is.

        Raises:
            StoreError: If the database fails.
        """
        with self._database.writing() as connection:
            numbers = self._find_users(connection, {answer.user_id for answer in answers if answer.user_id})
            rows = [
                {
                    "recommendation_id": answer.recommendation_id,
                    "user_number": numbers.get(answer.user_id) if answer.user_id else None,
                    "created": answer.created,
                    "content": canonical_json(answer.content),
                }
                for answer in answers
            ]
            ids = tables.recommendations.c.recommendation_id
            logged = {
                found
                for some in chunks([answer.recommendation_id for answer in answers])
                for found in connection.execute(select(ids).where(ids.in_(some))).scalars()
            }
            rows = [row for row in rows if row["recommendation_id"] not in logged]
            if rows:
                connection.execute(insert(tables.recommendations), rows)

    def answers_with_responses(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the answers to users, and the events that name them.

        Returns:
            A table of answers: ``recommendation_id``, ``user`` (a number; null if unknown), ``content`` (JSON); and one
            of events: ``recommendation_id``, ``item_id``, ``event``.

        Raises:
            StoreError: If the database fails.
        """
        answers, events = tables.recommendations.c, tables.events.c
        with self._database.reading() as connection:
            given = connection.execute(
                select(answers.recommendation_id, answers.user_number, answers.content).order_by(answers.created)
            ).all()
            done = connection.execute(
                select(events.recommendation_id, events.item_id, events.event).where(
                    events.recommendation_id.is_not(None), events.item_id.is_not(None)
                )
            ).all()
        columns = {"recommendation_id": pl.String, "user": pl.Int64, "content": pl.String}
        responses = {"recommendation_id": pl.String, "item_id": pl.String, "event": pl.String}
        return (
            pl.DataFrame([tuple(row) for row in given], schema=columns, orient="row"),
            pl.DataFrame([tuple(row) for row in done], schema=responses, orient="row"),
        )

    def recommendation(self, recommendation_id: str) -> Mapping[str, Any] | None:
        """Return the list of an answer and what led to it; None if it was not logged.

        Raises:
            StoreError: If the database fails.
        """
        answers = tables.recommendations.c
        with self._database.reading() as connection:
            content = connection.execute(
                select(answers.content).where(answers.recommendation_id == recommendation_id)
            ).scalar()
        return None if content is None else dict(json.loads(content))
