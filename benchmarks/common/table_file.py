"""Tables of rows as one Parquet file, whose metadata says what all rows have in common."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TableKind:
    """One kind of table.

    Attributes:
        name: What it is, for errors.
        key: Key of the facts in the file's metadata.
        format: Version of the file.
        schema: Columns.
        made_by: How to make one, for errors.
    """

    name: str
    key: bytes
    format: int
    schema: pa.Schema
    made_by: str

    def write(self, place: Storage, rows: Sequence[Row], facts: dict[str, Any]) -> None:
        """Writes rows in this order, and what is said of them all."""
        table = pa.Table.from_pylist(list(rows), self.schema)
        content = json.dumps({"format": self.format, **facts}, ensure_ascii=False)
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({self.key: content}), sink, compression="zstd")
        place.write_bytes(sink.getvalue())

    def read(self, place: Storage) -> tuple[list[Row], dict[str, Any]]:
        """Rows of a table and what is said of them all.

        Raises:
            UsageError: If there is none, or of another format.
        """
        try:
            table = pq.read_table(io.BytesIO(place.read_bytes()))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise UsageError(f"There is no table '{place.uri}'; {self.made_by}.") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise UsageError(f"'{place.uri}' is not a whole Parquet file: {str(error).splitlines()[0]}") from None
        facts = json.loads((table.schema.metadata or {}).get(self.key, b"{}"))
        if facts.get("format") != self.format:
            raise UsageError(f"'{place.uri}' is no {self.name} in format {self.format}; {self.made_by}.")
        return table.to_pylist(), facts
