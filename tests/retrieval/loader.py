"""A loader alone, as either version of langchain-community has it; lazily when asked."""

import json
import sys

from langchain_community.document_loaders import PebbloSafeLoader
from langchain_community.document_loaders.csv_loader import CSVLoader

loader = PebbloSafeLoader(
    CSVLoader(sys.argv[1]), name="loader-app", owner="Joe", description="", load_semantic=True,
)
documents = list(loader.lazy_load()) if len(sys.argv) > 2 else loader.load()
print(json.dumps([{"text": document.page_content, **document.metadata} for document in documents]))
