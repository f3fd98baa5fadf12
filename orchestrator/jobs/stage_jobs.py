"""Input of each stage of an experiment, and the fingerprint of all that determines its result."""

from dataclasses import replace
from typing import Any, cast

from orchestrator.analysis.job import AnalysisJob
from orchestrator.analysis.record import AdviceRecord
from orchestrator.analysis.search_worth import SearchFacts, facts_of
from orchestrator.confirm.ablation import ablation_of
from orchestrator.confirm.candidates import candidates_of, front_of, trials_of
from orchestrator.confirm.job import ConfirmJob
from orchestrator.confirm.record import ConfirmationRecord
from orchestrator.data.locked_test import PREFIX, digest_of_test, recorded_choice
from orchestrator.data.shard_reader import pixel_format_of, read_manifest
from orchestrator.experiment.image_settings import DeepImages, ImagePairs, ImageSet, PairReading, Target
from orchestrator.experiment.settings import SMALLEST_EFFECT, Experiment, Finetuning, Search
from orchestrator.finish.job import FinishJob
from orchestrator.foundation.stage_record import RECORD, fingerprint, finished, now, read_result
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile, listing_fingerprint
from orchestrator.runtime.progress_updates import NO_PROGRESS, ProgressUpdates
from orchestrator.search.guide import read_end
from orchestrator.search.network_speed import Shortening, SpeedJob, read_speeds
from orchestrator.search.optuna_export import FILE as OPTUNA_LOG
from orchestrator.search.starts import Start
from orchestrator.search.study import StudyJob
from orchestrator.search.trial_record import TrialRecord, read_records
from orchestrator.training.finetune import DomainJob, check_source_images
from orchestrator.training.pretrain_worker import SOURCE_DEGRADATION
from search_spaces import PORTFOLIO, TransferSpace
from trainables.images.patch_pool import smallest_image
from trainables.images.raster import PixelFormat
from trainables.loops.settings import TransferConfiguration
from trainables.network.model_files import CARD

SOURCE = "source"

_EXTENDED = "extended.json"

_LATER = {"adapter_rank": None, "keep_source": None, "precision": "auto"}
"""Settings that an earlier version does not have, with the value at which fingerprints leave them out."""


class Jobs:
    """Derives folders, fingerprints and jobs from an experiment; it runs nothing."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    def place(self, *parts: str) -> Storage:
        """A folder of the experiment."""
        return self.experiment.home.child(*parts)

    def image_set(self, name: str) -> ImageSet:
        """The source's or a target's images.

        Raises:
            KeyError: If it is the source and the source is a model.
        """
        source = self.experiment.source
        return source if name == SOURCE and isinstance(source, ImageSet) else self.experiment.targets[name]

    def shares(self, name: str) -> dict[str, float]:
        """Shares of scenes that are set aside for validation and test."""
        images = self.image_set(name)
        own_test = {"test": images.test_share} if isinstance(images, Target) and images.test_images is None else {}
        return {"validation": images.validation_share} | own_test

    def deep(self, name: str) -> DeepImages | None:
        """Settings of a set of images of any depth; None of 8-bit gray and RGB, as the source's are."""
        images = self.image_set(name)
        return images.deep if isinstance(images, Target) else None

    def pairs(self, name: str) -> PairReading | None:
        """Settings of a set of LR-HR pairs; None of HR images alone."""
        images = self.image_set(name).images
        if not isinstance(images, ImagePairs):
            return None
        refuse = images.check == "refuse"
        return PairReading(self.experiment.architecture.scale, images.registration, images.radiometry, refuse)

    def pixel_format(self, domain: str) -> PixelFormat:
        """The meaning of the values of a target's images, as its shards state it."""
        return pixel_format_of(read_manifest(self.place("shards", domain)))

    def space(self, domain: str) -> TransferSpace:
        """The search space of a target whose shards are built: its degradation acts in their range and depth."""
        space = self.experiment.space(domain)
        return replace(space, degradation=space.degradation.for_format(self.pixel_format(domain)))

    def search_facts(self, domain: str, scenes: int, images: int) -> SearchFacts:
        """Facts from which the worth of a target's search is predicted.

        Args:
            domain: The target.
            scenes: Its training scenes.
            images: Its training images.
        """
        return facts_of(
            scenes=scenes,
            images=images,
            pixels=self.experiment.finetuning.pixels,
            architecture=self.experiment.architecture,
            degradation=self.experiment.space(domain).degradation,
            real_pairs=self.pairs(domain) is not None,
        )

    def least_side(self, name: str) -> int:
        """Smallest side of an HR image in pixels."""
        section = self.experiment.pretraining if name == SOURCE else self.experiment.finetuning
        return smallest_image(section.lr_patch, self.experiment.architecture.scale)

    def locked_test(self, domain: str) -> Storage:
        """Folder of a target's test split; only confirmations and the stage that builds it get it."""
        return self.place(PREFIX, domain)

    def openings(self, domain: str) -> Storage:
        """Folder of the records of openings of a target's test split."""
        return self.place("confirm", domain, "test-opened")

    def shard_inputs(self, name: str, files: list[SourceFile]) -> str:
        """Fingerprint of a set of shards."""
        images, deep, pairs = self.image_set(name), self.deep(name), self.pairs(name)
        further = [settings.to_dict() for settings in (deep, pairs) if settings is not None]
        return fingerprint(
            "shards-3", listing_fingerprint(files), self.shares(name), self.least_side(name), images.licence, *further
        )

    def source_inputs(self) -> str:
        """Fingerprint of the source model, or of its pretraining here.

        The number of workers is included, because it is part of the effective batch.
        """
        experiment = self.experiment
        if found := experiment.source_model:
            return fingerprint("source-model-1", found.card["sha256"], experiment.architecture.to_dict())
        return fingerprint(
            "pretrain-1",
            experiment.pretraining.model_dump(exclude={"gpus_per_worker", "pool_images", "least_workers"}),
            self._shards_digest(SOURCE),
            experiment.architecture.to_dict(),
            SOURCE_DEGRADATION.to_dict(),
            experiment.seed,
        )

    def analysis_inputs(self, domain: str) -> str:
        """Fingerprint of a domain's analysis."""
        space, images = self.space(domain), self.experiment.search.analysis_images
        return fingerprint(
            "analysis-1",
            self.source_inputs(),
            self._shards_digest(domain),
            [space.id, space.degradation.to_dict(), space.learning_rate, space.lambda_, space.deepest],
            images,
        )

    def study_inputs(self, domain: str) -> str:
        """Fingerprint of a study without its number of trials: with more of them it is the same study, extended.

        The points that advice and siblings suggest are not included: they are fixed when the study begins.
        """
        experiment, space = self.experiment, self.space(domain)
        portfolio = PORTFOLIO if "portfolio" in experiment.search.starts else ()
        excluded = {"trials", "most_trials", "seed_noise", "concurrent_trials"}
        excluded |= {*self._where_it_runs(), *self._unset(experiment.search)}
        return fingerprint(
            "search-2",
            self.source_inputs(),
            self._shards_digest(domain),
            [space.id, space.degradation.to_dict(), space.learning_rate, space.lambda_, space.zero_share],
            [str(start) for start in (self.default(), *space.starts, *portfolio)],
            experiment.frozen_depths(domain),
            experiment.finetuning.model_dump(exclude={"scratch_learning_rate", *self._unset(experiment.finetuning)}),
            experiment.search.model_dump(exclude=excluded),
            experiment.seed,
            *self._degraded_share(domain),
        )

    @staticmethod
    def _unset(section: Finetuning | Search) -> set[str]:
        return {name for name, as_before in _LATER.items() if getattr(section, name, 0) == as_before}

    def _degraded_share(self, domain: str) -> list[float]:
        """Share of pairs' training patches with real LR; nothing where it is all of them, or there are no pairs."""
        share = self.experiment.targets[domain].pairs_share
        return [] if share == 1 else [share]

    def _where_it_runs(self) -> set[str]:
        """Settings of a search that change no score; where speed is an objective, CPUs and GPUs change it."""
        speed = self.experiment.search.kept_blocks is not None
        return set() if speed else {"cpus_per_trial", "gpus_per_trial", "kept_blocks"}

    def search_inputs(self, domain: str) -> str:
        """Fingerprint of a finished search."""
        return fingerprint(self.study_inputs(domain), self.trials(domain))

    def trials(self, domain: str) -> int:
        """Number of trials of a domain's study: that of the experiment, or that of an extension if it is larger.

        With `trials: auto` it is the number after which the study ended, and until then the largest one.
        """
        records, search = self.records_place(domain), self.experiment.search
        extended = records.child(_EXTENDED).read_json()
        longer = extended.get("trials", 0) if isinstance(extended, dict) else 0
        end = read_end(records) if search.trials == "auto" else None
        return max(end.trials if end else search.limit, longer if type(longer) is int else 0)

    def extend(self, domain: str, more: int) -> None:
        """Extends the study of a finished search by so many trials, for every later run."""
        longer = {"trials": self.trials(domain) + more, "extended_at": now()}
        self.records_place(domain).child(_EXTENDED).write_json(longer)

    def confirm_inputs(self, domain: str) -> str:
        """Fingerprint of a confirmation."""
        return fingerprint(
            "confirm-2",
            self.search_inputs(domain),
            self.experiment.confirmation.model_dump(exclude={"smallest_effect"}),  # only the report judges by it
            self.experiment.finetuning.scratch_learning_rate,
            self._test_digest(domain),
        )

    def finish_inputs(self, domain: str) -> str:
        """Fingerprint of a finished model."""
        settings = self.experiment.finish.model_dump(exclude={"enabled"})
        return fingerprint("finish-1", self.confirm_inputs(domain), settings)

    def report_inputs(self) -> str:
        """Fingerprint of the report."""
        confirmations = {domain: self.confirm_inputs(domain) for domain in self.experiment.targets}
        advice = {domain: self.advice(domain) for domain in confirmations}
        smallest = self.experiment.confirmation.smallest_effect
        judged_by = [] if smallest == SMALLEST_EFFECT else [smallest]  # the default is left out, as before it existed
        finished = {domain: self.finish_inputs(domain) for domain in confirmations}
        further = [*judged_by, *([finished] if self.experiment.finish.enabled else [])]
        return fingerprint("report-2", confirmations, self.experiment.generated_samples, advice, *further)

    def advice(self, domain: str) -> AdviceRecord | None:
        """Advice of a domain's analysis: that which its search started from, or else that of `rayscale analyze`."""
        places = self.place("analysis", domain, RECORD), self.place("analysis", "analysis.json")
        for place, keys in zip(places, (("result", "advice"), ("targets", domain, "advice")), strict=True):
            found: Any = place.read_json()
            for key in keys:
                found = found.get(key) if isinstance(found, dict) else None
            if isinstance(found, dict):
                return cast(AdviceRecord, found)
        return None

    def records(self, domain: str) -> list[TrialRecord]:
        """Records of the trials of a study that have ended."""
        return read_records(self.records_place(domain))[: self.trials(domain)]

    def shortening(self) -> Shortening | None:
        """The shortened networks of a search, with their speeds if these are measured; None if none are searched."""
        kept = self.experiment.search.kept_blocks
        if kept is None:
            return None
        return Shortening(kept, self.experiment.architecture, read_speeds(self.speeds_place()))

    def speeds_place(self) -> Storage:
        """The file with the speeds of this network's shortened versions on a trial's CPUs and GPUs."""
        search, shape = self.experiment.search, self.experiment.architecture.to_dict()
        named = self.experiment.cluster.accelerator_type
        device = [search.cpus_per_trial, search.gpus_per_trial, *([named] if named else [])]
        inputs = fingerprint("speeds-1", shape, search.kept_blocks, *device)
        return self.place("search", f"speeds-{inputs}.json")

    def speeds(self) -> SpeedJob:
        """Input of the task that measures the speeds."""
        search = self.experiment.search
        assert search.kept_blocks is not None
        return SpeedJob(
            source=self.place("source"),
            kept_blocks=search.kept_blocks,
            threads=max(1, int(search.cpus_per_trial)),
            on_gpu=search.gpus_per_trial > 0,
            place=self.speeds_place(),
        )

    def analysis(self, domain: str) -> AnalysisJob:
        """Input of a domain's analysis."""
        experiment, search = self.experiment, self.experiment.search
        return AnalysisJob(
            domain=domain,
            shards=self.place("shards", domain),
            space=self.space(domain),
            model=self.place("source"),
            model_digest=self._source_digest(),
            source=self.place("shards", SOURCE) if isinstance(experiment.source, ImageSet) else None,
            images=search.analysis_images,
            threads=max(1, int(search.cpus_per_trial)),
        )

    def study(self, domain: str, starts: tuple[Start, ...], progress: ProgressUpdates = NO_PROGRESS) -> StudyJob:
        """Input of a domain's search."""
        experiment, space = self.experiment, self.space(domain)
        if experiment.search.keep_source is not None:
            check_source_images(domain, self.pixel_format(domain))
        feeds = "siblings" in experiment.search.starts
        return StudyJob(
            domain=self._domain_job(domain),
            settings=experiment.search,
            trials=self.trials(domain),
            seed=experiment.seed,
            learning_rate=space.learning_rate,
            lambda_=space.lambda_range if experiment.finetuning.searches_lambda else None,
            lambda_floor=space.lambda_[0],
            frozen_depth=experiment.frozen_depths(domain),
            starts=starts,
            records=self.records_place(domain),
            scratch=self.place("search", domain, "ray"),
            progress=progress,
            shortening=self.shortening(),
            home=experiment.home,
            journal=self.place("search", domain, OPTUNA_LOG),
            siblings=tuple(other for other in experiment.targets if other != domain) if feeds else (),
            ends_early=experiment.search.trials == "auto" and read_end(self.records_place(domain)) is None,
            placement=experiment.cluster.placement,
        )

    def confirmation(self, domain: str, progress: ProgressUpdates = NO_PROGRESS) -> ConfirmJob:
        """Input of a domain's confirmation."""
        experiment, settings, inputs = self.experiment, self.experiment.confirmation, self.confirm_inputs(domain)
        records, domain_job = self.records(domain), self._domain_job(domain)
        scratch = replace(self.default(), learning_rate=experiment.finetuning.scratch_learning_rate)
        # The last step is joint optimisation; with another method of transfer there is nothing to lead up to.
        ablated = settings.ablation and experiment.finetuning.transfer == "joint"
        opening = self.openings(domain).child(f"{inputs}.json")
        candidates = candidates_of(records, settings.top, self.default(), recorded_choice(opening))
        return ConfirmJob(
            domain=domain_job,
            candidates=candidates,
            front=front_of(records, candidates, experiment.architecture.blocks),
            scratch=scratch,
            ablation=ablation_of(records, self.default(), scratch) if ablated else None,
            classical=self._classical_place(domain_job) if settings.classical else None,
            seeds=tuple(experiment.seed + 1 + i for i in range(settings.seeds)),
            test=self.locked_test(domain),
            opening=opening,
            runs=self.place("confirm", domain, f"runs-{inputs}"),
            model=self.confirmed_model(domain),
            lineage={
                "shards": self._shards_digest(domain),
                "test_shards": self._test_digest(domain),
                **self._source_lineage(),
                "source_model": self._source_digest(),
                "study": self.study_inputs(domain),
            },
            cpus=experiment.search.cpus_per_trial,
            gpus=experiment.search.gpus_per_trial,
            progress=progress,
            trials=trials_of(records, candidates),
            keep_source=experiment.search.keep_source,
        )

    def confirmed_model(self, domain: str) -> Storage:
        """Folder of the confirmed model: the domain's own, or one below it where a finished model takes that place."""
        below = ["confirmed"] if self.experiment.finish.enabled else []
        return self.place("models", domain, *below)

    def finish(self, domain: str, progress: ProgressUpdates = NO_PROGRESS) -> FinishJob:
        """Input of the training of a domain's finished model; its confirmation must have finished."""
        inputs = self.finish_inputs(domain)
        return FinishJob(
            confirmation=self.confirmation(domain, progress),
            confirmed=read_result(self.place("confirm", domain), ConfirmationRecord),
            settings=self.experiment.finish,
            runs=self.place("finish", domain, f"runs-{inputs}"),
            opening=self.openings(domain).child(f"finish-{inputs}.json"),
            model=self.place("models", domain),
            keep_source=self.experiment.search.keep_source,
        )

    def _domain_job(self, domain: str) -> DomainJob:
        experiment, search = self.experiment, self.experiment.search
        return DomainJob(
            domain=domain,
            shards=self.place("shards", domain),
            shards_digest=self._shards_digest(domain),
            source=self.place("source"),
            source_digest=self._source_digest(),
            degradation=self.space(domain).degradation,
            scale=experiment.architecture.scale,
            budget=experiment.finetuning.budget(),
            lr_patch=experiment.finetuning.lr_patch,
            validation_images=search.validation_images,
            validation_crop=search.validation_crop,
            threads=max(1, int(search.cpus_per_trial)),
            on_gpu=search.gpus_per_trial > 0,
            method=experiment.finetuning.method(),
            source_images=self.place("shards", SOURCE) if isinstance(experiment.source, ImageSet) else None,
            pixel_format=self.pixel_format(domain),
            pairs_share=experiment.targets[domain].pairs_share,
            precision=experiment.finetuning.precision,
            device_count=search.devices_per_trial,
        )

    def records_place(self, domain: str) -> Storage:
        """The folder of a study's trial records."""
        return self.place("search", domain, f"study-{self.study_inputs(domain)}")

    def _classical_place(self, job: DomainJob) -> Storage:
        """Folder of the fitted baselines, which all confirmations on the same images share."""
        scored = [job.scale, job.validation_images, job.validation_crop, job.lr_patch]
        inputs = fingerprint("classical-1", job.shards_digest, job.degradation.to_dict(), scored)
        return self.place("confirm", job.domain, f"classical-{inputs}")

    def _test_digest(self, domain: str) -> str:
        return digest_of_test(self.locked_test(domain), self.place("shards", domain))

    def _shards_digest(self, name: str) -> str:
        manifest = read_manifest(self.place("shards", name))
        stated = manifest.get("pixel_format")
        return str(manifest["digest"]) if stated is None else fingerprint(manifest["digest"], stated)

    def _source_digest(self) -> str:
        card = self.place("source", CARD).read_json()
        return str(card.get("sha256") if isinstance(card, dict) else None)

    def _source_lineage(self) -> dict[str, str]:
        if found := self.experiment.source_model:
            return {"source": found.where, "source_licence": found.licence}
        return {"source_shards": self._shards_digest(SOURCE)}

    def default(self) -> TransferConfiguration:
        """The default fine-tune."""
        rate = self.experiment.finetuning.default_learning_rate
        return TransferConfiguration(learning_rate=rate, lambda_=0.0, frozen_depth=0)

    def search_finished(self, domain: str) -> bool:
        """True if a domain's search has finished with exactly these settings and images."""
        place = self.place("search", domain)
        return place.child(RECORD).exists() and finished(place, self.search_inputs(domain)) is not None
