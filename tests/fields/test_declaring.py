"""What migrations, forms and checks see of predicted fields."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter
from django.forms import modelform_factory
from django.test.utils import isolate_apps
from pytest_django import Settings

from django_inference.fields import PredictedField, PredictedMixin
from tests.fields.pictures.models import Letter, Note


def test_a_migration_sees_plain_columns() -> None:
    fields = dict(ModelState.from_model(Note).fields)
    assert type(fields["shouted"]) is models.JSONField
    assert type(fields["shouted_prediction"]) is models.JSONField
    assert type(fields["length"]) is models.FloatField
    text, imports = MigrationWriter.serialize(fields["length"])
    assert text == "models.FloatField(blank=True, null=True)"
    assert not any("django_inference" in each for each in imports)


def test_another_predictor_is_no_migration() -> None:
    states: list[ProjectState] = []
    for options in (
        {"predictor": "a", "source": "text"},
        {"predictor": "b", "source": lambda note: note.text, "output": "x", "priority": "low"},
    ):
        with isolate_apps("tests.fields.pictures"):

            class Text(models.Model):
                text = models.TextField()
                answer = PredictedField(**options)

                class Meta:
                    app_label = "pictures"

            state = ProjectState()
            state.add_model(ModelState.from_model(Text))
        states.append(state)
    before, after = states
    assert MigrationAutodetector(before, after).changes(graph=MigrationGraph()) == {}


@pytest.mark.django_db(transaction=True)
def test_a_table_is_made_and_altered_by_migrations() -> None:
    state = ModelState.from_model(Letter)
    migration: Any = migrations.Migration("0001", "pictures")
    migration.operations = [
        migrations.CreateModel(
            "Copy", list(state.fields.items()), options={"db_table": "copies_of_letters"}
        ),
        migrations.AddField("copy", "extra", models.IntegerField(default=1)),
        migrations.AddField("copy", "more", Letter._meta.get_field("shouted").clone()),
        migrations.AlterField("copy", "text", models.CharField(max_length=10)),
    ]
    with connection.schema_editor() as editor:
        project = migration.apply(ProjectState(), editor)
    model: Any = project.apps.get_model("pictures", "Copy")
    assert model.objects.create(text="one").shouted is None
    with connection.schema_editor() as editor:
        editor.delete_model(model)


def test_the_companion_comes_once_and_first() -> None:
    names = [field.name for field in Letter._meta.local_fields]
    assert names == ["id", "text", "shouted_prediction", "shouted"]


def test_forms_leave_both_columns_out() -> None:
    form = modelform_factory(Letter, fields="__all__")
    assert list(form.base_fields) == ["text"]


def ids(model: type[models.Model]) -> list[str]:
    found = [message for field in model._meta.local_fields for message in field.check()]
    return sorted(str(message.id) for message in found if "inference" in str(message.id))


def test_checks(settings: Settings) -> None:
    assert ids(Letter) == []
    settings.INFERENCE = {}
    assert ids(Letter) == ["django_inference.W080"]
    settings.INSTALLED_APPS = [
        name for name in settings.INSTALLED_APPS if name != "django_inference.jobs"
    ]
    assert ids(Letter) == ["django_inference.E080", "django_inference.W080"]


@pytest.mark.parametrize(
    ("source", "id"),
    [("txet", "E082"), ("answer", "E083"), ("answer_prediction", "E083"), (3, "E081")],
)
def test_sources_are_checked(source: Any, id: str) -> None:
    with isolate_apps("tests.fields.pictures"):

        class Text(models.Model):
            text = models.TextField()
            answer = PredictedField("upper", source=source)

            class Meta:
                app_label = "pictures"

        assert ids(Text) == [f"django_inference.{id}"]


def test_any_column_can_be_predicted() -> None:
    class Short(PredictedMixin, models.CharField):  # type: ignore[type-arg]
        """Of a site's own."""

    field = Short("upper", source="text", max_length=3)
    field.set_attributes_from_name("short")
    name, path, args, options = field.deconstruct()
    assert (name, path, args) == ("short", "django.db.models.CharField", [])
    assert options == {"max_length": 3, "null": True, "blank": True}
    assert type(field.clone()) is models.CharField
