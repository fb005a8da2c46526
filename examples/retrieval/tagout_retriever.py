"""A LangChain retriever that releases what Tagout allows, and nothing when Tagout cannot be asked.

    retriever = TagoutRetriever(store=Chroma(...), kind="chroma", token=token_of_the_signed_in_user)

`kind` says whose filter the plan becomes: "qdrant", "chroma" or "pinecone" (docs/pebblo.md has the others, which LangChain's
stores do not take as they are). With any other kind the store is searched without a filter. That costs only speed: every
document is checked by its text before it is handed on, whatever the store said.
"""

from __future__ import annotations

import os
from typing import Any

import requests
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore


def _as_it_is(plan: dict[str, Any]) -> Any:
    return plan


def _qdrant(plan: dict[str, Any]) -> Any:
    from qdrant_client.models import Filter

    return Filter.model_validate(plan)


# How LangChain's stores take a filter.
FILTERS = {"chroma": _as_it_is, "pinecone": _as_it_is, "qdrant": _qdrant}


class TagoutRetriever(BaseRetriever):
    """Asks for a plan, searches with its filter, checks what was found."""

    store: VectorStore
    kind: str
    token: str
    k: int = 4
    url: str = os.environ.get("TAGOUT_RETRIEVAL_URL", "http://127.0.0.1:8000")

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(
            self.url + path, json=body, timeout=20, headers={"Authorization": f"Bearer {self.token}"},
        )
        # Whatever is not an answer is a refusal.
        answer.raise_for_status()
        return answer.json()

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun,
    ) -> list[Document]:
        plan = self._ask("/v1/retrieval/plan", {"store": self.kind} if self.kind in FILTERS else {})
        if plan["decision"] == "none":
            return []
        search: dict[str, Any] = {}
        if plan["decision"] == "some" and self.kind in FILTERS:
            search["filter"] = FILTERS[self.kind](plan["filters"][self.kind])
        released: list[Document] = []
        many = self.k
        for _ in range(4):
            found = self.store.similarity_search(query, k=many, **search)
            asked = [{"id": str(place), "text": document.page_content} for place, document in enumerate(found)]
            results = self._ask("/v1/retrieval/check", {"documents": asked})["results"]
            allowed = {result["id"] for result in results if result["allowed"] is True}
            released = [document for place, document in enumerate(found) if str(place) in allowed]
            if len(released) >= self.k or len(found) < many:
                break
            many *= 4
        return released[: self.k]
