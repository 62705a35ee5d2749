"""Columns that are filled by jobs, and by the right ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import connection, transaction
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from django_inference.backends.dummy import DummyBackend
from django_inference.fields import refill
from django_inference.jobs.models import Job
from django_inference.jobs.signals import job_finished
from tests.fields.pictures.models import Album, Letter, LongLetter, Note, ProxyLetter, Upload
from tests.jobs.carriers import KeepingEngine


def fresh(row: Any) -> Any:
    return type(row).objects.get(pk=row.pk)


def test_a_new_row_is_filled_when_its_job_is_done(queue: KeepingEngine) -> None:
    letter = Letter.objects.create(text="hello")
    assert letter.shouted is None
    assert letter.shouted_prediction["state"] == "waiting"
    assert fresh(letter).shouted_prediction == letter.shouted_prediction
    assert len(queue.deliver()) == 1
    letter = fresh(letter)
    assert letter.shouted == "HELLO"
    assert letter.shouted_prediction["state"] == "ready"
    job = Job.objects.get()
    assert job.one is True
    assert letter.shouted_prediction["job"] == str(job.pk)


def test_only_a_change_of_the_source_submits_a_job(queue: KeepingEngine) -> None:
    note = Note.objects.create(title="a title", text="one")
    assert len(queue.deliver()) == 2
    note = fresh(note)
    note.save()
    note.title = ""
    note.save(update_fields=["title"])
    note.text = "one"
    note.save()
    assert queue.deliver() == []
    note.text = "two"
    note.save()
    assert fresh(note).shouted is None
    assert len(queue.deliver()) == 1
    assert fresh(note).shouted == "TWO"


def test_what_is_saved_with_an_old_instance_keeps_the_answer(queue: KeepingEngine) -> None:
    letter = Letter.objects.create(text="hello")
    old = fresh(letter)
    queue.deliver()
    assert old.shouted is None
    old.save()
    assert fresh(letter).shouted == "HELLO"
    assert fresh(letter).shouted_prediction["state"] == "ready"
    # Its text goes back to what it was when it was read, and so does the prediction.
    letter.text = "bye"
    letter.save()
    queue.deliver()
    assert fresh(letter).shouted == "BYE"
    old.save()
    queue.deliver()
    assert fresh(letter).text == "hello"
    assert fresh(letter).shouted == "HELLO"


def test_a_stale_answer_is_discarded(queue: KeepingEngine) -> None:
    letter = Letter.objects.create(text="one")
    (first,) = queue.sent
    queue.sent.clear()
    letter.text = "two"
    letter.save()
    second = queue.sent.pop()
    queue.sent.append(first)
    queue.deliver()
    letter = fresh(letter)
    assert letter.shouted is None
    assert letter.shouted_prediction["state"] == "waiting"
    queue.sent.append(second)
    queue.deliver()
    assert fresh(letter).shouted == "TWO"
    assert [job.state for job in Job.objects.all()] == ["succeeded"] * 2


def test_an_answer_to_what_was_changed_without_save_is_discarded(queue: KeepingEngine) -> None:
    letter = Letter.objects.create(text="one")
    Letter.objects.update(text="two")
    assert len(queue.deliver()) == 2
    assert fresh(letter).shouted == "TWO"
    Letter.objects.update(text="")
    refill(Letter.objects.all(), "shouted")
    assert fresh(letter).shouted is None


def test_a_repeated_announcement_changes_nothing(queue: KeepingEngine) -> None:
    letter = Letter.objects.create(text="one")
    queue.deliver()
    job = Job.objects.get()
    Letter.objects.update(shouted="corrected by hand")
    letter.text = "two"
    letter.save()
    assert job_finished.send(sender=Job, job=job)
    assert fresh(letter).shouted is None
    queue.deliver()
    assert fresh(letter).shouted == "TWO"


def test_a_transaction_that_is_rolled_back_submits_nothing(queue: KeepingEngine) -> None:
    letter = Letter.objects.create(text="one")
    queue.deliver()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        letter.text = "two"
        letter.save()
        Letter.objects.create(text="three")
        assert queue.sent == []
        raise ZeroDivisionError
    assert queue.sent == []
    assert Job.objects.count() == 1
    assert fresh(letter).shouted == "ONE"


def test_the_row_is_not_saved_without_its_job(queue: KeepingEngine) -> None:
    letter = Letter.objects.create(text="one")
    queue.deliver()

    def refuse(**kwargs: Any) -> None:
        raise ZeroDivisionError

    post_save.connect(refuse, sender=Job)
    try:
        letter.text = "two"
        with pytest.raises(ZeroDivisionError):
            letter.save()
    finally:
        post_save.disconnect(refuse, sender=Job)
    # The next save finds that nobody has been asked about this text.
    assert fresh(letter).shouted_prediction["state"] == "ready"
    fresh(letter).save()
    queue.deliver()
    assert fresh(letter).shouted == "TWO"


def test_rows_that_failed_can_be_found_and_tried_again(
    queue: KeepingEngine, models: dict[str, DummyBackend]
) -> None:
    good = Letter.objects.create(text="good")
    bad = Letter.objects.create(text="fail")
    queue.deliver()
    (found,) = Letter.objects.filter(shouted_prediction__state="failed")
    assert found == bad
    assert "it failed" in found.shouted_prediction["error"]
    models["upper"].returns("better")
    failed = Letter.objects.filter(shouted_prediction__state="failed")
    assert refill(failed, "shouted") == 1
    assert not failed.exists()
    queue.deliver()
    assert fresh(bad).shouted == "better"
    assert fresh(good).shouted == "GOOD"


def test_rows_that_no_save_announced_can_be_filled(queue: KeepingEngine) -> None:
    Letter.objects.bulk_create([Letter(text=text) for text in ("a", "b", "")])
    assert queue.sent == []
    assert refill(Letter.objects.filter(shouted_prediction__isnull=True), "shouted") == 2
    queue.deliver()
    said = Letter.objects.order_by("pk").values_list("shouted", flat=True)
    assert list(said) == ["A", "B", None]


def test_an_empty_source_is_not_predicted(queue: KeepingEngine) -> None:
    letter = Letter.objects.create(text="")
    assert letter.shouted_prediction is None
    letter.text = "now"
    letter.save()
    queue.deliver()
    assert fresh(letter).shouted == "NOW"
    letter.text = ""
    letter.save()
    assert queue.sent == []
    assert fresh(letter).shouted is None
    assert fresh(letter).shouted_prediction is None


def test_sources_and_outputs_of_each_kind(queue: KeepingEngine) -> None:
    album = Album.objects.create(title="flowers")
    note = Note.objects.create(title="a", text="abc", number=2, album=album)
    queue.deliver()
    note = fresh(note)
    assert note.album_shouted == "FLOWERS"
    assert note.described == ["A!"]
    assert note.length == 5.0
    assert list(Note.objects.filter(length__gt=4.5, shouted="ABC")) == [note]
    note.number = None
    note.save(update_fields=["number"])
    assert fresh(note).length is None
    note.album = None
    note.save(update_fields=["album_id"])
    assert fresh(note).album_shouted is None
    assert queue.sent == []


def test_an_answer_that_the_column_does_not_take(
    queue: KeepingEngine, models: dict[str, DummyBackend]
) -> None:
    for answer, said in (({"sizes": ["big"]}, "big"), ({"sizes": []}, "IndexError"), (3, "int")):
        models["measure"].returns(answer)
        note = Note.objects.create(text="abc", number=2)
        queue.deliver()
        note = fresh(note)
        assert note.length is None
        assert note.length_prediction["state"] == "failed"
        assert said in note.length_prediction["error"]
        assert note.shouted == "ABC"


def test_a_cancelled_job_is_a_failed_prediction(queue: KeepingEngine) -> None:
    letter = Letter.objects.create(text="one")
    assert Job.objects.get().cancel()
    assert fresh(letter).shouted_prediction["state"] == "failed"


def test_a_row_that_has_gone(queue: KeepingEngine) -> None:
    Letter.objects.create(text="one").delete()
    assert len(queue.deliver()) == 1
    assert Job.objects.get().announce_at is None


def test_a_copy_of_a_row(queue: KeepingEngine) -> None:
    letter = Letter.objects.create(text="one")
    copy = fresh(letter)
    copy.pk = None
    copy.save()
    assert copy.shouted_prediction["job"] != letter.shouted_prediction["job"]
    assert len(queue.deliver()) == 2
    assert fresh(copy).shouted == "ONE"
    # What is known of the same text need not be asked again.
    again = fresh(copy)
    again.pk = None
    again.save()
    assert queue.sent == []
    assert fresh(again).shouted == "ONE"


def test_inherited_columns(queue: KeepingEngine) -> None:
    proxy = ProxyLetter.objects.create(text="proxy")
    long = LongLetter.objects.create(text="long", more="and longer")
    queue.deliver()
    assert fresh(proxy).shouted == "PROXY"
    assert fresh(long).shouted == "LONG"
    long.more = "nothing new"
    long.save()
    assert queue.sent == []


def test_deferred_sources_are_not_loaded(queue: KeepingEngine) -> None:
    letter = LongLetter.objects.create(text="long", more="one")
    queue.deliver()
    deferred = LongLetter.objects.defer("text").get()
    deferred.more = "two"
    with CaptureQueriesContext(connection) as queries:
        deferred.save()
    assert not [query for query in queries if query["sql"].startswith("SELECT")]
    assert queue.sent == []
    assert fresh(letter).shouted == "LONG"


class Overwriting(FileSystemStorage):
    """A new file takes the place of the old one, under its name."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        self.delete(name)
        return name


def test_files_are_sent_as_their_bytes(
    queue: KeepingEngine, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field: Any = Upload._meta.get_field("file")
    monkeypatch.setattr(field, "storage", Overwriting())
    upload = Upload.objects.create(file=ContentFile(b"1234", "a.txt"))
    queue.deliver()
    assert fresh(upload).size == 4
    fresh(upload).save()
    assert queue.sent == []
    # Another content of the same name.
    upload.file.save("a.txt", ContentFile(b"12"))
    assert fresh(upload).file.name == "uploads/a.txt"
    queue.deliver()
    assert fresh(upload).size == 2
    # One that cannot be read is no reason not to save the row.
    (storage / "uploads/a.txt").unlink()
    upload.save()
    info = fresh(upload).size_prediction
    assert info["state"] == "failed"
    assert "a.txt" in info["error"]


def test_a_predictor_that_is_not_declared_is_no_reason_not_to_save_the_row(
    queue: KeepingEngine, settings: Settings
) -> None:
    settings.INFERENCE = {}
    note = Note.objects.create(text="hello")
    assert queue.sent == []
    info = fresh(note).shouted_prediction
    assert info["state"] == "failed"
    assert "'upper'" in info["error"]


class Remote(Overwriting):
    """Knows nothing of the files but their names."""

    def path(self, name: str) -> str:
        if sys._getframe(1).f_globals["__name__"].startswith("django_inference"):
            raise NotImplementedError
        return super().path(name)


def test_new_uploads_to_another_machine_are_noticed(
    queue: KeepingEngine, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field: Any = Upload._meta.get_field("file")
    monkeypatch.setattr(field, "storage", Remote())
    upload = Upload.objects.create(file=ContentFile(b"1234", "a.txt"))
    old = fresh(upload)
    (first,) = queue.sent
    queue.sent.clear()
    upload.file = ContentFile(b"12", "a.txt")
    upload.save()
    assert fresh(upload).file.name == old.file.name
    assert len(queue.sent) == 1
    queue.deliver()
    # The answer to the first one comes too late.
    queue.sent.append(first)
    queue.deliver()
    assert fresh(upload).size == 2
    fresh(upload).save()
    assert queue.sent == []


def test_a_fixture_brings_its_answers_with_it(queue: KeepingEngine) -> None:
    from django.core import serializers

    letter = Letter.objects.create(text="one")
    queue.deliver()
    text = serializers.serialize("json", Letter.objects.all())
    letter.delete()
    for row in serializers.deserialize("json", text):
        row.save()
    assert queue.sent == []
    (letter,) = Letter.objects.all()
    assert letter.shouted == "ONE"
    assert letter.shouted_prediction["state"] == "ready"
