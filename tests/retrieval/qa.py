"""PebbloRetrievalQA on Qdrant: load, store, ask as two people, and as nobody.

Arguments: the URL of Qdrant (or :memory:), a token to write with, tokens of readers. Through the proxy
each reader has a client of their own, since the token is what proves who they are.
"""

import json
import sys

from langchain_community.chains import PebbloRetrievalQA
from langchain_community.chains.pebblo_retrieval.models import AuthContext, SemanticContext
from langchain_community.document_loaders import PebbloSafeLoader
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models.fake import FakeListLLM
from langchain_qdrant import Qdrant
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, VectorParams

url, writer, *readers = sys.argv[1:]


class InMemory(BaseLoader):
    """Documents as a connector with identities gives them."""

    def lazy_load(self):
        for number, (text, who) in enumerate([
            ("Ann's salary review says that her number is 219-09-9999 and nothing else.", ["ann"]),
            ("Ann likes green tea in the morning and black tea in the evening.", ["ann"]),
            ("Bob likes coffee at any time of the day and never tea.", ["bob"]),
        ]):
            yield Document(page_content=text, metadata={
                "source": f"/drive/{number}.txt", "authorized_identities": who,
            })


documents = PebbloSafeLoader(InMemory(), name="qa-app", owner="Joe", description="", load_semantic=True).load()


class LocalEmbedding(DeterministicFakeEmbedding):
    """The chain tells its server which model an embedding is of."""

    model: str = "local"


embedding = LocalEmbedding(size=8)


def client(token):
    if url == ":memory:":
        return shared
    return QdrantClient(url=url, api_key=token)


shared = QdrantClient(":memory:") if url == ":memory:" else None
writing = client(writer)
writing.create_collection("docs", vectors_config=VectorParams(size=8, distance=Distance.COSINE))
Qdrant(writing, "docs", embedding).add_documents(documents)


def ask(token, auth=None, deny=None):
    chain = PebbloRetrievalQA.from_chain_type(
        llm=FakeListLLM(responses=["An answer."] * 3),
        chain_type="stuff",
        retriever=Qdrant(client(token), "docs", embedding).as_retriever(search_kwargs={"k": 10}),
        app_name="qa-app", owner="Joe", description="", verbose=True, return_source_documents=True,
    )
    semantic = SemanticContext(pebblo_semantic_entities={"deny": deny}) if deny else None
    question = {"query": "what do they drink", "auth_context": auth, "semantic_context": semantic}
    try:
        answer = chain.invoke(question)
    except Exception as error:
        return str(type(error).__name__)
    return sorted(document.page_content for document in answer["source_documents"])


result = {"labels": [document.metadata.get("pebblo_semantic_entities") for document in documents]}
for name, token in zip(["ann", "bob", "nobody"], readers):
    # The identity that the client claims is ann's, whoever holds the token.
    claimed = AuthContext(user_id="ann", user_auth=["ann"], name="ann")
    result[name] = ask(token, claimed)
    result[name + " without context"] = ask(token)
result["deny"] = ask(readers[0], AuthContext(user_id="ann", user_auth=["ann"], name="ann"), ["us-ssn"])
print(json.dumps(result))
