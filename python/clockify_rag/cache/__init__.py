"""What was paid for once: vectors by their text, and answers by everything that they depend on.

Each cache may be emptied at any time; none ever fails what it serves, and what it cannot do, it does not do.
"""

from clockify_rag.cache.answers import Counts, RecentResults, StoredResults, describe, forget
from clockify_rag.cache.embeddings import EmbeddingCache, batches

__all__ = ["Counts", "EmbeddingCache", "RecentResults", "StoredResults", "batches", "describe", "forget"]
