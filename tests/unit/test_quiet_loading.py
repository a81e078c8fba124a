"""Nothing flashes by on the terminal for weights that lie on the disk already."""

import pytest

from koine.foundations.clip import Clip
from koine.foundations.language_model import load_language_model
from koine.quiet_loading import without_bars, without_reports


@pytest.mark.parametrize("load", [load_language_model, Clip.load])
def test_foundations_load_in_silence(load, capfd):
    load()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_bars_come_back(capfd):
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    with without_bars():
        assert not logging.is_progress_bar_enabled()
    assert logging.is_progress_bar_enabled() == before


def test_reports_come_back():
    from transformers.utils import logging

    before = logging.get_verbosity()
    with without_reports():
        assert logging.get_verbosity() == logging.ERROR
    assert logging.get_verbosity() == before != logging.ERROR
