"""LlamaIndex' reader: its payload lacks fields that the loader of langchain sends."""

import json
import logging
import sys
from pathlib import Path

from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document
from llama_index.readers.pebblo import PebbloSafeReader

warnings = []


class Kept(logging.Handler):
    def emit(self, record):
        warnings.append(record.getMessage())


logging.getLogger("llama_index.readers.pebblo").addHandler(Kept(level=logging.WARNING))


class CSVReader(BaseReader):
    """The name is what Pebblo's reader goes by."""

    def load_data(self, file):
        return [Document(text=line) for line in Path(file).read_text().splitlines()[1:]]


reader = PebbloSafeReader(CSVReader(), name="llama-app", owner="Joe", description="A RAG application")
documents = reader.load_data(file=sys.argv[1])
print(json.dumps({"documents": [document.text for document in documents], "warnings": warnings}))
