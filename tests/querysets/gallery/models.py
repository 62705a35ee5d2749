"""Tables that are filled with predictions."""

from __future__ import annotations

import uuid

from django.db import models


class Album(models.Model):
    title = models.CharField(max_length=40)


class Photo(models.Model):
    """One column of each kind that is read or written."""

    title = models.CharField(max_length=40, default="")
    number = models.IntegerField(default=0)
    image = models.FileField(upload_to="photos", blank=True)
    album = models.ForeignKey(Album, models.CASCADE, null=True)

    answer = models.JSONField(null=True)
    doubled = models.IntegerField(null=True)
    score = models.FloatField(null=True)
    word = models.CharField(max_length=10, null=True)
    caption = models.TextField(default="", blank=True)
    packed = models.BinaryField(null=True)
    flag = models.BooleanField(default=False)

    @property
    def shouted(self) -> str:
        return self.title.upper()


class Tag(models.Model):
    name = models.CharField(max_length=40)
    photos = models.ManyToManyField(Photo, related_name="tags")


class Scan(models.Model):
    """Its keys come in no order."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    number = models.IntegerField()
    doubled = models.IntegerField(null=True)


class Panorama(Photo):
    """In two tables."""

    width = models.IntegerField(default=0)
