"""Models with predicted fields."""

from __future__ import annotations

from typing import Any

from django.db import models

from django_inference.fields import PredictedField, PredictedMixin


class PredictedFloatField(PredictedMixin, models.FloatField):  # type: ignore[type-arg]
    """A column of numbers that a predictor fills."""


class Album(models.Model):
    title = models.CharField(max_length=100)


class Note(models.Model):
    """One column of each kind of source."""

    title = models.CharField(max_length=100, default="")
    text = models.TextField(default="")
    number = models.IntegerField(null=True)
    album = models.ForeignKey(Album, null=True, on_delete=models.CASCADE)

    shouted = PredictedField("upper", source="text")
    album_shouted = PredictedField("upper", source="album.title")
    length = PredictedFloatField(
        "measure", source={"text": "text", "number": "number"}, output="sizes.0"
    )
    described = PredictedField(
        "upper", source=lambda note: note.title and f"{note.title}!", output=lambda said: [said]
    )


class Base(models.Model):
    text = models.TextField(default="")
    shouted = PredictedField("upper", source="text")
    #: Made by the line above; this tells linters.
    shouted_prediction: dict[str, Any]

    class Meta:
        abstract = True


class Letter(Base):
    """Inherits its columns."""


class LongLetter(Letter):
    """In two tables."""

    more = models.TextField(default="")


class ProxyLetter(Letter):
    """In the same table."""

    class Meta:
        proxy = True


class Upload(models.Model):
    """A file, and how long it is."""

    file = models.FileField(upload_to="uploads", blank=True)
    size = PredictedField("count", source="file")
