"""What routes are given, by name."""

from typing import Annotated

from fastapi import Depends, Request

from api.settings import Settings
from reranker import Recommender


def _recommender(request: Request) -> Recommender:
    recommender: Recommender = request.app.state.recommender
    return recommender


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


RecommenderDep = Annotated[Recommender, Depends(_recommender)]
SettingsDep = Annotated[Settings, Depends(_settings)]
