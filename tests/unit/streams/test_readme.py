"""The README says what the code does: its table of settings is made from the settings."""

from pathlib import Path

from streams.settings_table import main, rows

README = Path(__file__).parents[3] / "README.md"


def test_the_table_of_settings_is_the_settings() -> None:
    assert main([str(README), "--check"]) == 0


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, _, meaning in rows() if not meaning] == []


def test_an_old_table_is_told(tmp_path: Path) -> None:
    old = tmp_path / "README.md"
    old.write_text(README.read_text("utf-8").replace("`ranking.k` | `20`", "`ranking.k` | `10`"), "utf-8")
    assert main([str(old), "--check"]) == 1
