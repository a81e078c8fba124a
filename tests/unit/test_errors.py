"""Errors name the thing, the value and the remedy, on one line."""

from koine import InputError


def test_an_unknown_name_is_answered_with_the_nearest_ones_and_all_that_are_known():
    message = str(InputError.unknown("system", "Feret", ["ferret", "beit3", "spae"]))
    assert message == "there is no system 'Feret': did you mean 'ferret'? (known: beit3, ferret, spae)"


def test_without_a_near_name_only_the_known_ones_are_listed():
    assert str(InputError.unknown("stage", "zzz", ["align"])) == "there is no stage 'zzz' (known: align)"


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)
