"""The report stage: one page of results, with the data behind it."""

from collections.abc import Sequence

import yaml

from orchestrator.foundation.artefact_digests import Damage
from orchestrator.foundation.stage_record import RECORD, StageRecord, Vouched
from orchestrator.foundation.storage import Storage
from orchestrator.jobs.stage_jobs import SOURCE
from orchestrator.pipeline.run_context import RunContext
from orchestrator.pipeline.stages.stage import Stage
from orchestrator.report.build import ReportResult, write_report
from orchestrator.report.schema import Report
from trainables.errors import reason_of


class ReportStage(Stage):
    """Writes the report."""

    name, noun = "report", "report"
    result = ReportResult

    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """One report of all targets, whichever were run."""
        del domains
        return (SOURCE,)

    def place(self, name: str) -> Storage:
        """Folder of the report."""
        del name
        return self.jobs.place("report")

    def title(self, name: str) -> str:
        """The stage's name alone: there is one report."""
        del name
        return self.noun

    def inputs(self, name: str) -> str:
        """Fingerprint of the report."""
        del name
        return self.jobs.report_inputs()

    def vouched(self, name: str) -> Vouched:
        """The report's files, and the records of the confirmations and finished models that it reads."""
        experiment = self.jobs.experiment
        stages = ("confirm", "finish") if experiment.finish.enabled else ("confirm",)
        read = [self.jobs.place(stage, domain, RECORD) for stage in stages for domain in experiment.targets]
        return Vouched(self.home, [self.place(name), *read])

    def run(self, run: RunContext) -> None:
        """Writes the report of all targets, or of those that have not failed."""
        if missing := run.failures.reasons:
            self._report_of_some(run, missing)
            return
        experiment = self.jobs.experiment

        def write() -> ReportResult:
            records = {domain: self.jobs.records(domain) for domain in experiment.targets}
            return write_report(experiment, records, self.place(SOURCE))

        self.run_one(run, SOURCE, write)

    def older_damage(self, name: str, record: StageRecord, most_bytes: float) -> Damage:
        """Files that are missing, empty or cut short."""
        del name, record, most_bytes
        return older_report(self.home)

    def _report_of_some(self, run: RunContext, missing: dict[str, str]) -> None:
        """Writes a report without finishing the stage, so that the next run writes it again, with all domains."""
        run.log(f"report: of {', '.join(run.failures.going)} alone")
        place, experiment = self.place(SOURCE), self.jobs.experiment
        if place.child(RECORD).exists():
            place.child(RECORD).delete()
        some = {name: experiment.targets[name] for name in run.failures.going}
        records = {domain: self.jobs.records(domain) for domain in some}
        write_report(experiment.model_copy(update={"targets": some}), records, place, missing)


def older_report(home: Storage) -> Damage:
    """Damage of a report's files, for stage records that list no digests."""
    place, damage = home.child("report"), {}
    try:
        report = Report.model_validate_json(place.child("report.json").read_bytes())
    except Exception as error:
        return {"report/report.json": f"is missing or damaged ({reason_of(error)})"}
    try:
        if not isinstance(yaml.safe_load(place.child("best.yaml").read_bytes()), dict):
            damage["report/best.yaml"] = "is empty or damaged"
    except Exception as error:
        damage["report/best.yaml"] = f"is missing or damaged ({reason_of(error)})"
    sizes = {facts.path: facts.size for facts in place.files()}
    pictures = [
        panel.file
        for domain in report.domains.values()
        for comparison in domain.comparisons
        for panel in comparison.panels
    ]
    for file in ("table.md", "index.html", *pictures):
        if not sizes.get(file):
            damage[f"report/{file}"] = "is empty" if file in sizes else "is missing"
    if sizes.get("index.html") and not place.child("index.html").read_bytes().rstrip().endswith(b"</html>"):
        damage["report/index.html"] = "is cut short"
    return damage
