import pytest
from pydantic import ValidationError

from configs.errors import ConfigError
from configs.settings import load_settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith("ATLASLOOP_"):
            monkeypatch.delenv(name)


def origin_of(loaded, name):
    return next(entry for entry in loaded.origins if entry.name == name)


def test_defaults_hold_without_a_file():
    assert load_settings(None).settings.annotate.device == "auto"


def test_flag_beats_environment_beats_file(tmp_path, monkeypatch):
    file = tmp_path / "atlasloop.toml"
    file.write_text('[annotate]\ndevice = "cpu"\nwindow_batch = 3\n[storage]\nthreads = 4\n')
    monkeypatch.setenv("ATLASLOOP_ANNOTATE__DEVICE", "cuda")
    monkeypatch.setenv("ATLASLOOP_ANNOTATE__WINDOW_BATCH", "5")

    loaded = load_settings(file, {"annotate": {"device": "cuda:1"}})

    assert loaded.settings.annotate.device == "cuda:1"
    assert loaded.settings.annotate.window_batch == 5
    assert loaded.settings.storage.threads == 4
    assert origin_of(loaded, "annotate.device").origin == "flag"
    assert origin_of(loaded, "annotate.window_batch").origin == "environment"
    assert origin_of(loaded, "storage.threads").origin == "file"
    assert origin_of(loaded, "intake.min_slices").origin == "default"


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        load_settings(None).settings.annotate.device = "cpu"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[anotate]\n", r"anotate \(from the file\)"),
        ("[annotate]\ndevise = 'cpu'\n", r"annotate.devise \(from the file\)"),
        ("[annotate]\nwindow_batch = 0\n", r"annotate.window_batch \(from the file\)"),
        ("[schedule]\ntimezone = 'Atlantis'\n", "schedule.timezone .*Europe/Berlin.*'Atlantis'"),
        ("[annotate\n", "not valid TOML"),
        ("[[committee]]\nname='a'\nfamily='x'\n", "weights"),
    ],
)
def test_broken_file_is_a_clear_error(tmp_path, text, message):
    file = tmp_path / "atlasloop.toml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=message):
        load_settings(file)


def test_unknown_variable_is_refused(monkeypatch):
    monkeypatch.setenv("ATLASLOOP_ANOTATE__DEVICE", "cpu")

    with pytest.raises(ConfigError, match="ATLASLOOP_ANOTATE__DEVICE is no setting"):
        load_settings(None)


def test_unknown_name_in_a_known_section_is_refused(monkeypatch):
    monkeypatch.setenv("ATLASLOOP_ANNOTATE__DEVISE", "cpu")

    with pytest.raises(ConfigError, match=r"annotate\.devise"):
        load_settings(None)


def test_workspace_variable_is_no_setting(monkeypatch):
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", "/somewhere")

    assert load_settings(None).settings.committee == ()


def test_members_need_names_of_their_own(tmp_path):
    file = tmp_path / "atlasloop.toml"
    file.write_text('[[committee]]\nname="a"\nfamily="x"\nweights="w"\n' * 2)

    with pytest.raises(ConfigError, match="names of their own"):
        load_settings(file)


def test_the_key_is_not_shown(tmp_path):
    file = tmp_path / "atlasloop.toml"
    file.write_text('[identity]\nkey = "abc"\n')

    assert origin_of(load_settings(file), "identity.key").value == "(secret)"


@pytest.mark.parametrize("keys", [{"accept": "r"}, {"accept": "n"}, {"zoom": "zz"}, {"zoom": "?"}])
def test_review_keys_must_be_free_and_single(keys):
    with pytest.raises(ConfigError, match=r"single letters or digits but c and r, each once"):
        load_settings(None, {"review": {"keys": keys}})
