"""The table of jobs."""

from __future__ import annotations

import uuid

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """One table, with an index for each question of a sweep."""

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("predictor", models.CharField(help_text="alias in INFERENCE", max_length=200)),
                (
                    "version",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="of the model that answered",
                        max_length=200,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="waiting",
                        editable=False,
                        max_length=16,
                    ),
                ),
                (
                    "priority",
                    models.PositiveSmallIntegerField(
                        choices=[(0, "high"), (1, "normal"), (2, "low")], default=1
                    ),
                ),
                ("one", models.BooleanField(default=False)),
                ("timeout", models.FloatField(blank=True, null=True)),
                ("progress_done", models.PositiveIntegerField(default=0)),
                ("progress_total", models.PositiveIntegerField(default=1)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("available_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("queued_at", models.DateTimeField(blank=True, null=True)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("requeues", models.PositiveIntegerField(default=0)),
                (
                    "error",
                    models.TextField(blank=True, default="", help_text="why the last run failed"),
                ),
                ("error_type", models.CharField(blank=True, default="", max_length=100)),
                ("error_details", models.TextField(blank=True, default="")),
                (
                    "submitter",
                    models.CharField(blank=True, db_index=True, default="", max_length=64),
                ),
                ("idempotency_key", models.CharField(blank=True, default="", max_length=255)),
                (
                    "idempotency_digest",
                    models.CharField(editable=False, max_length=64, null=True, unique=True),
                ),
                (
                    "inputs_digest",
                    models.CharField(blank=True, default="", editable=False, max_length=32),
                ),
                ("target", models.JSONField(blank=True, null=True)),
                (
                    "engine_id",
                    models.CharField(blank=True, default="", editable=False, max_length=255),
                ),
                ("lease", models.UUIDField(editable=False, null=True)),
                ("lease_until", models.DateTimeField(editable=False, null=True)),
                ("announce_at", models.DateTimeField(editable=False, null=True)),
                ("inputs_json", models.TextField(editable=False, null=True)),
                ("inputs_packed", models.BinaryField(null=True)),
                (
                    "inputs_file",
                    models.CharField(blank=True, default="", editable=False, max_length=255),
                ),
                ("result_json", models.TextField(editable=False, null=True)),
                ("result_packed", models.BinaryField(null=True)),
                (
                    "result_file",
                    models.CharField(blank=True, default="", editable=False, max_length=255),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
                "get_latest_by": "created_at",
                "indexes": [
                    models.Index(fields=["state", "available_at"], name="inference_job_available"),
                    models.Index(fields=["state", "lease_until"], name="inference_job_lease"),
                    models.Index(fields=["owner", "created_at"], name="inference_job_owner"),
                    models.Index(fields=["announce_at"], name="inference_job_announce"),
                    models.Index(fields=["finished_at"], name="inference_job_finished"),
                ],
            },
        ),
    ]
