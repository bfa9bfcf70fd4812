"""Components by name, the package's own and those of others, through one door.

A component is an entry point of a group such as ``clockify_rag.embedders``. The package declares its own in the same way, but a
table of them is kept here, because scanning the installed packages takes longer than a search: only a name that is not in the
table is looked for among them. Nothing is imported before it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from clockify_rag import contracts
from clockify_rag.errors import ClockifyRagError, InvalidSetting, MissingExtra, PluginConflict, PluginNotFound

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP_PREFIX: Final = "clockify_rag."
"""How the names of the entry-point groups begin."""

PROTOCOLS: Final[Mapping[str, type]] = {
    "loaders": contracts.Loader,
    "chunkers": contracts.Chunker,
    "embedders": contracts.Embedder,
    "understanders": contracts.Understander,
    "classifiers": contracts.Classifier,
    "retrievers": contracts.Retriever,
    "rerankers": contracts.Reranker,
    "packers": contracts.Packer,
    "generators": contracts.Generator,
    "verifiers": contracts.Verifier,
}
"""The groups, and what a component of each must be able to do."""

BUILT_IN: Final[Mapping[str, Mapping[str, str]]] = {
    "loaders": {"files": "clockify_rag.loading:FileLoader"},
    "chunkers": {
        "structure": "clockify_rag.chunking:StructureChunker",
        "sentence": "clockify_rag.chunking:SentenceChunker",
        "semantic": "clockify_rag.chunking:SemanticChunker",
        "fixed": "clockify_rag.chunking:FixedChunker",
    },
    "embedders": {
        "static": "clockify_rag.embedding:StaticEmbedder",
        "sentence-transformers": "clockify_rag.embedding:SentenceTransformersEmbedder",
        "onnx": "clockify_rag.embedding.onnx:OnnxEmbedder",
        "ollama": "clockify_rag.embedding:OllamaEmbedder",
        "openai": "clockify_rag.embedding:OpenAIEmbedder",
    },
    "understanders": {
        "steps": "clockify_rag.understanding.steps:StepsUnderstander",
        "plain": "clockify_rag.understanding:PlainUnderstander",
    },
    "classifiers": {
        "rules": "clockify_rag.understanding.kinds:RuleClassifier",
        "none": "clockify_rag.understanding.kinds:NoClassifier",
    },
    "retrievers": {"hybrid": "clockify_rag.retrieval:HybridRetriever"},
    "rerankers": {
        "mmr": "clockify_rag.reranking:MmrReranker",
        "cross-encoder": "clockify_rag.reranking.cross_encoder:CrossEncoderReranker",
        "llm": "clockify_rag.reranking.llm:LlmReranker",
        "none": "clockify_rag.reranking:NoReranker",
    },
    "packers": {
        "by-relevance": "clockify_rag.packing:RelevancePacker",
        "by-document": "clockify_rag.packing:DocumentPacker",
        "diverse": "clockify_rag.packing:DiversePacker",
        "clustered": "clockify_rag.packing:ClusteredPacker",
    },
    "generators": {
        "extractive": "clockify_rag.generation.extractive:ExtractiveGenerator",
        "ollama": "clockify_rag.generation.ollama:OllamaGenerator",
        "openai": "clockify_rag.generation.openai:OpenAIGenerator",
        "llama": "clockify_rag.generation.llama:LlamaGenerator",
    },
    "verifiers": {"quotes": "clockify_rag.verification:QuoteVerifier"},
}
"""The package's own components: group, name, and ``module:class``. ``pyproject.toml`` declares the same."""


def find(group: str, name: str) -> Callable[..., Any]:
    """Return the class, or other callable, that makes the component ``name``.

    Args:
        group: a key of ``PROTOCOLS``, such as ``embedders``.
        name: the component's name.

    Raises:
        PluginNotFound: there is no such component.
        PluginConflict: several packages offer one of that name, or what is offered cannot be imported.
        MissingExtra: a package that it needs is not installed.
    """
    value = BUILT_IN[group].get(name)
    if value is not None:
        return _import(group, name, value)
    offers = {point.value: point for point in _installed(group) if point.name == name}
    if not offers:
        raise PluginNotFound(
            f"there is no component {name!r} among the {group}",
            hint=f"there are: {', '.join(names(group))}",
            group=group,
            name=name,
        )
    if len(offers) > 1:
        packages = sorted(_package(point) for point in offers.values())
        raise PluginConflict(
            f"several packages offer the component {name!r} among the {group}: {', '.join(packages)}",
            hint=f"uninstall all but one of them: pip uninstall {packages[-1]}",
            group=group,
            name=name,
            packages=packages,
        )
    return _import(group, name, next(iter(offers)))


def create(group: str, name: str, arguments: Mapping[str, Any] | None = None, /, **built_in: Any) -> Any:
    """Make a component and check that it does what its Protocol says.

    Args:
        group: a key of ``PROTOCOLS``.
        name: the component's name.
        arguments: the user's arguments for it.
        **built_in: what the package's own components are given besides. Another package's is given those of them that its
            constructor names, so that a retriever can ask for ``index`` and an embedder for ``model``.

    Raises:
        InvalidSetting: it does not take these arguments.
        PluginNotFound, PluginConflict, MissingExtra: as ``find``.
    """
    factory = find(group, name)
    if name not in BUILT_IN[group]:
        named = _parameters(factory) or {}
        built_in = {name: value for name, value in built_in.items() if name in named}
    given = {**built_in, **(arguments or {})}
    try:
        component = factory(**given)
    except ClockifyRagError:
        raise
    except (TypeError, ValueError) as error:
        taken = _taken(factory)
        strange = sorted(set(given) - set(taken)) if taken is not None else []
        raise InvalidSetting(
            f"the component {name!r} among the {group} takes no argument {', '.join(strange)}"
            if strange
            else f"the component {name!r} among the {group} cannot be made with its arguments: {error}",
            hint="" if taken is None else f"it takes: {', '.join(taken) or 'none'}",
            group=group,
            name=name,
            arguments=strange,
        ) from error
    check(group, name, component)
    return component


def check(group: str, name: str, component: object) -> None:
    """Raise ``PluginConflict`` where ``component`` lacks what its Protocol has. Properties are looked up, never evaluated."""
    missing = [member for member in members(PROTOCOLS[group]) if not _has(component, member)]
    if missing:
        raise PluginConflict(
            f"the component {name!r} among the {group} has no {', '.join(missing)}",
            hint=f"see {PROTOCOLS[group].__name__} in clockify_rag.contracts, and the checks in clockify_rag.testing",
            group=group,
            name=name,
            missing=missing,
        )


def members(protocol: type) -> tuple[str, ...]:
    """Return the names that a class must have to meet ``protocol``."""
    return tuple(name for name in vars(protocol) if not name.startswith("_"))


def names(group: str) -> list[str]:
    """Return the names of all components of ``group``, of this package and of others."""
    return sorted({*BUILT_IN[group], *(point.name for point in _installed(group))})


def of_extra(extra: str, module: str) -> Any:
    """Return a module of an extra of this package.

    Raises:
        MissingExtra: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"the package {module} is not installed, which the extra {extra} brings",
            hint=f'pip install "clockify-rag[{extra}]"',
            extra=extra,
            package=module,
        ) from error


def conflicts() -> list[str]:
    """Return, as sentences, the names that more than one package offers."""
    found = []
    for group, own in BUILT_IN.items():
        offers: dict[str, dict[str, str]] = {name: {value: "clockify-rag"} for name, value in own.items()}
        for point in _installed(group):
            offers.setdefault(point.name, {}).setdefault(point.value, _package(point))
        found += [
            f"{group}: {name} is offered by {', '.join(sorted(set(values.values())))}"
            for name, values in sorted(offers.items())
            if len(values) > 1
        ]
    return found


def _installed(group: str) -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points

    return entry_points(group=GROUP_PREFIX + group)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value.partition(":")[0]


def _import(group: str, name: str, value: str) -> Callable[..., Any]:
    from importlib import import_module

    module, _, attribute = value.partition(":")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ClockifyRagError:
        raise
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"the component {name!r} among the {group} needs the package {error.name!r}, which is not installed",
            hint=f"pip install {error.name}",
            group=group,
            name=name,
            package=error.name,
        ) from error
    except Exception as error:
        raise PluginConflict(
            f"the component {name!r} among the {group} cannot be imported from {value}: {type(error).__name__}: {error}",
            hint="upgrade or uninstall the package that offers it",
            group=group,
            name=name,
        ) from error
    if not callable(found):
        raise PluginConflict(
            f"the component {name!r} among the {group}, {value}, is not a class", group=group, name=name
        )
    factory: Callable[..., Any] = found
    return factory


def _parameters(factory: Callable[..., Any]) -> Mapping[str, Any] | None:
    """Return the arguments that ``factory`` names, by name; ``None`` where it does not tell."""
    import inspect

    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return None


def _taken(factory: Callable[..., Any]) -> tuple[str, ...] | None:
    """Return the names of the arguments that ``factory`` takes; ``None`` where it takes any or does not tell."""
    parameters = _parameters(factory)
    if parameters is None or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return tuple(parameters)


def _has(component: object, member: str) -> bool:
    if member in getattr(component, "__dict__", {}):
        return True
    return any(vars(cls).get(member) is not None for cls in type(component).__mro__)
