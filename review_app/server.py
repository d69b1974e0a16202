"""The app as a server: Streamlit with routes of our own, on this machine alone."""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import Route

from review_app.browser_session import BrowserSession
from review_app.downloads import PATH, send_file
from review_app.edit_routes import edit_routes
from review_app.local_only import LocalOnly
from review_app.mask_editor.assets import asset_route

PORT_VARIABLE = "STREAMLIT_SERVER_PORT"

app = st.App(
    Path(__file__).with_name("main.py"),
    routes=[Route(PATH, send_file), asset_route(), *edit_routes()],
    middleware=[
        Middleware(LocalOnly, port=int(os.environ.get(PORT_VARIABLE, "8600"))),
        Middleware(BrowserSession),
    ],
)
