"""Text as vectors: without a model, with a static one, or with a transformer."""

from tilth.embed.embed import Embed, FitEmbed
from tilth.embed.embedder import Embedder
from tilth.embed.model2vec import Model2Vec
from tilth.embed.sentence_transformer import SentenceTransformer
from tilth.embed.tfidf import TfidfSvd
from tilth.embed.vllm import VLLMEmbedder

__all__ = ["Embed", "Embedder", "FitEmbed", "Model2Vec", "SentenceTransformer", "TfidfSvd", "VLLMEmbedder"]
