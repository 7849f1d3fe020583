"""``/``: the studio; ``/docs``: the API reference. The pages load nothing from other servers."""

from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from api.studio import STATIC as STUDIO

STATIC = Path(__file__).resolve().parent.parent / "static"
_POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def root(request: Request) -> Response:
    """Show the studio to browsers; list the routes for programs."""
    if "text/html" in request.headers.get("accept", ""):
        return FileResponse(STUDIO / "index.html", media_type="text/html", headers=_POLICY)
    paths = request.app.openapi()["paths"]
    return JSONResponse(
        {
            "name": "whyrank",
            "version": version("whyrank"),
            "reference": "/docs",
            "openapi": "/openapi.json",
            "routes": sorted(f"{method.upper()} {path}" for path, methods in paths.items() for method in methods),
        }
    )


@router.get("/docs")
async def docs() -> Response:
    """Show the reference, rendered from ``/openapi.json``."""
    return FileResponse(STATIC / "docs.html", media_type="text/html", headers=_POLICY)
