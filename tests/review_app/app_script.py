"""The app's pages run as scripts, without a browser."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

import review_app

MAIN = Path(review_app.__file__).with_name("main.py")


def run(**parameters):
    """Run the page of an address."""
    app = AppTest.from_file(str(MAIN), default_timeout=120)
    for name, value in parameters.items():
        app.query_params[name] = value
    return again(app)


def run_case(made, structure="liver", *, view="case", case=0):
    """Run a page that is about a structure of a workspace's case."""
    return run(view=view, case=made.case_ids[case], structure=structure)


def again(app):
    app.run()
    assert not app.exception
    return app


def press(app, key):
    app.button(key=key).click()
    return again(app)


def texts(app):
    """All that is written on the page outside of its widgets."""
    shown = [*app.get("html"), *app.info, *app.error, *app.warning]
    return " ".join(one.value for one in shown)


def keys(app, prefix=""):
    return [button.key for button in app.button if (button.key or "").startswith(prefix)]
