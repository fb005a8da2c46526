"""The example retriever on a store in memory: load by Pebblo's loader, ask as whoever the token proves.

Arguments: `chroma`, `qdrant` or `none` (a store whose filter is not known), the URL of `tagout serve`, then tokens.
"""

import json
import sys

from langchain_community.document_loaders import PebbloSafeLoader
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from tagout_retriever import TagoutRetriever

kind, url, *tokens = sys.argv[1:]


class InMemory(BaseLoader):
    def lazy_load(self):
        for number, (text, who) in enumerate([
            ("Ann's number is 219-09-9999.", ["ann"]),
            ("Ann likes green tea.", ["ann"]),
            ("Bob likes coffee.", ["bob"]),
            ("The quarterly figures are for the finance department.", ["finance"]),
            ("Nobody said who may read this.", []),
        ]):
            yield Document(page_content=text, metadata={"source": f"/drive/{number}", "authorized_identities": who})


documents = PebbloSafeLoader(InMemory(), name="example", owner="Joe", description="", load_semantic=True).load()
embedding = DeterministicFakeEmbedding(size=8)

if kind == "qdrant":
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    client.create_collection("docs", vectors_config=models.VectorParams(size=8, distance=models.Distance.COSINE))
    store = QdrantVectorStore(client, "docs", embedding)
elif kind == "chroma":
    from langchain_chroma import Chroma

    store = Chroma("docs", embedding)
    # Chroma keeps no empty lists.
    for document in documents:
        document.metadata = {name: value for name, value in document.metadata.items() if value not in ([], None)}
else:
    from langchain_core.vectorstores import InMemoryVectorStore

    store = InMemoryVectorStore(embedding)
store.add_documents(documents)


def ask(token, where=url):
    retriever = TagoutRetriever(store=store, kind=kind, token=token, k=3, url=where)
    try:
        return sorted(document.page_content for document in retriever.invoke("what do they drink"))
    except Exception as error:
        return type(error).__name__


result = {str(number): ask(token) for number, token in enumerate(tokens)}
# Nobody answers there.
result["away"] = ask(tokens[0], "http://127.0.0.1:9")
print(json.dumps(result))
