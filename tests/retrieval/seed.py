"""The snippet that users of Pebblo have: a CSV file behind PebbloSafeLoader, into Chroma."""

import json
import sys

from langchain.document_loaders.csv_loader import CSVLoader
from langchain_chroma import Chroma
from langchain_community.document_loaders import PebbloSafeLoader
from langchain_core.embeddings import DeterministicFakeEmbedding

loader = PebbloSafeLoader(
    CSVLoader(sys.argv[1]),
    name="acme-corp-rag",
    owner="Joe Smith",
    description="Support productivity RAG application",
    load_semantic=True,
)
documents = loader.load()
store = Chroma.from_documents(
    [document.model_copy(update={"metadata": {k: str(v) for k, v in document.metadata.items()}})
     for document in documents],
    DeterministicFakeEmbedding(size=16),
)
found = store.similarity_search("who is it", k=2)
print(json.dumps({
    "documents": [{"text": document.page_content, **document.metadata} for document in documents],
    "found": len(found),
}))
