"""`make constraints` writes names and versions, and nothing that says where they came from."""

from __future__ import annotations

from tools.constraints import constraint_lines


def test_names_are_normalised_and_sorted() -> None:
    installed = [
        {"name": "typing_extensions", "version": "4.16.0"},
        {"name": "Farama-Notifications", "version": "0.0.6"},
        {"name": "zope.interface", "version": "7.0"},
    ]

    assert constraint_lines(installed) == [
        "farama-notifications==0.0.6",
        "typing-extensions==4.16.0",
        "zope-interface==7.0",
    ]


def test_the_package_itself_and_the_installer_are_not_pinned() -> None:
    installed = [
        {"name": "pip", "version": "26.3"},
        {"name": "robot-sf-otel", "version": "0.1.0"},
        {"name": "rich", "version": "15.0.0", "editable_project_location": "somewhere"},
    ]

    assert constraint_lines(installed) == ["rich==15.0.0"]
