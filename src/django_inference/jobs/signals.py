"""What other apps may listen to."""

from __future__ import annotations

from django.dispatch import Signal

#: A job has succeeded, failed or been cancelled, and that is committed. Sent with `sender=Job`
#: and `job=` at least once: by the process that ended the job, and once more by a sweep where
#: that process died, or where a receiver raised. So a receiver has to bear a repetition.
job_finished = Signal()
