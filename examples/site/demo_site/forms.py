"""The one form of every page: a file, or a few."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile

from demo_site.samples import Upload

LARGEST_UPLOAD = 10_000_000
MOST_FILES = 20


class FileInput(forms.ClearableFileInput):
    """A plain file field, without Django's checkbox to clear it."""

    template_name = "django/forms/widgets/file.html"
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """One or more files, in a list."""

    widget = FileInput

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile[Any]]:
        """Check each file.

        Raises:
            ValidationError: there is none, or one is too large, or there are too many.
        """
        files = data if isinstance(data, list | tuple) else [data]
        cleaned = [super(FilesField, self).clean(file or None, initial) for file in files or [None]]
        if len(cleaned) > MOST_FILES:
            raise forms.ValidationError(f"At most {MOST_FILES} files at a time.", "too_many")
        if sum(file.size or 0 for file in cleaned) > LARGEST_UPLOAD:
            megabytes = LARGEST_UPLOAD // 1_000_000
            raise forms.ValidationError(f"At most {megabytes} MB at a time.", "too_large")
        return cleaned


class UploadForm(forms.Form):
    """What a visitor sends."""

    upload = FilesField(
        # Whoever asks for the type of an empty file gets an answer too.
        allow_empty_file=True,
        error_messages={"required": "Choose a file first."},
    )

    def __init__(self, *args: Any, accept: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["upload"].widget.attrs = {"multiple": True, "accept": accept or False}

    def read(self) -> list[Upload]:
        """The files, read into memory."""
        return [
            Upload(file.name or "file", file.content_type or "", file.read())
            for file in self.cleaned_data["upload"]
        ]

    def refuse(self, message: str, uploads: list[Upload]) -> None:
        """Say at the field what the model says; with several files, of which one."""
        said = message[:1].upper() + message[1:]
        said = re.sub(r"^Item (\d+)(?=: )", lambda found: uploads[int(found[1])].name, said)
        self.errors.setdefault("upload", self.error_class()).append(said)

    @property
    def status(self) -> int:
        """The HTTP status of what is wrong with the form; 400 but for its size."""
        return 413 if self.has_error("upload", "too_large") else 400
