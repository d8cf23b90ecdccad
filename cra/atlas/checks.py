"""What is legal in an atlas and yet probably not meant: the checks behind lint, one function each.

Called by `cra.atlas.lint`, and by the loader for the one that `strict` makes an error. They never change an atlas, and never
refuse one. PROTOCOL: Atlas/1.0, Parameter conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cra.atlas.manifest import Action, Atlas, Finding
from cra.carp.conditions import Conditions
from cra.carp.policy import Policy
from cra.carp.schema import Schema, SchemaProblem, unknown_keywords, untyped_properties
from cra.carp.schema_walk import Document, subschemas
from cra.pointer import pointer
from cra.strictjson import shorten

_NO_CONDITIONS = Conditions()
_SAME_VALUE = frozenset(("not", "allOf", "anyOf", "oneOf", "if", "then", "else"))
"""Keywords whose schemas are applied to the same value."""
_NAMES_ELSEWHERE = _SAME_VALUE | {"patternProperties", "$ref", "$dynamicRef", "dependentSchemas"}
"""Keywords that can bring in further properties."""


def no_allow_policy(atlas: Atlas) -> Iterator[Finding]:
    """`no_allow_policy`: there are actions, and nothing will ever allow them."""
    if atlas.actions and not any(policy.type == "allow" and not policy.shadow for policy in atlas.policies):
        yield Finding(
            "no_allow_policy",
            "/policies",
            "no policy allows any action, so all of them are denied; add an allow policy, or run this atlas with "
            'default_decision="allow"',
        )


def unmatched_patterns(atlas: Atlas) -> Iterator[Finding]:
    """`unmatched_pattern`: a pattern that names no action of the atlas."""
    for policy, path in _declared(atlas):
        for number, glob in enumerate(policy.actions or ()):
            if next(_matching(glob, atlas.actions), None) is not None:
                continue
            if policy.type == "allow":
                advice = (
                    "an allow concerns only the actions of its own atlas, so it allows nothing; correct or remove it"
                )
            elif atlas.actions:
                advice = "correct it, unless it is meant for the actions of other atlases"
            else:
                continue
            yield Finding(
                "unmatched_pattern",
                pointer(path, "actions", number),
                f"{shorten(glob)} matches no action of this atlas; {advice}",
            )


def unknown_capabilities(atlas: Atlas) -> Iterator[Finding]:
    """`unknown_capability`: a condition on a capability that the atlas does not define."""
    known = {capability.capability_id for capability in atlas.capabilities}
    for conditions, path in _all_conditions(atlas):
        for number, name in enumerate(conditions.capabilities or ()):
            if name not in known:
                yield Finding(
                    "unknown_capability",
                    pointer(path, "capabilities", number),
                    f"this atlas defines no capability {shorten(name)}; correct it, unless another atlas does",
                )


def unknown_references(atlas: Atlas) -> Iterator[Finding]:
    """`unknown_reference`: a name of an action, a pack or a block that does not exist in the atlas."""
    actions = {action.action_id for action in atlas.actions}
    packs = {pack["pack_id"] for pack in atlas.manifest.get("context_packs", ())}
    inline = atlas.manifest.get("context_blocks", ())
    blocks = packs | {block.block_id for block in atlas.context_blocks}
    for index, capability in enumerate(atlas.capabilities):
        path = pointer("", "capabilities", index)
        yield from _missing(capability.actions, actions, pointer(path, "actions"), "action")
        yield from _missing(capability.context_packs, packs, pointer(path, "context_packs"), "context pack")
    for index, block in enumerate(inline):
        path = pointer("", "context_blocks", index)
        yield from _missing(block.get("also_inject", ()), blocks, pointer(path, "also_inject"), "context block")
        yield from _missing(block.get("inject_when", ()), actions, pointer(path, "inject_when"), "action")


def redundant_allow_conditions(atlas: Atlas) -> Iterator[Finding]:
    """`redundant_allow_condition`: a parameter condition of an allow for an action that another allow opens anyway."""
    allows = [(policy, path) for policy, path in _declared(atlas) if policy.type == "allow" and not policy.shadow]
    opened: dict[str, Policy] = {}
    for policy, _ in allows:
        if policy.conditions == _NO_CONDITIONS:
            for action in _covered(policy, atlas):
                opened.setdefault(action.action_id, policy)
    for policy, path in allows:
        covered = next((action for action in _covered(policy, atlas) if action.action_id in opened), None)
        if policy.conditions.parameters is not None and covered is not None:
            other = opened[covered.action_id].policy_id
            yield Finding(
                "redundant_allow_condition",
                pointer(path, "conditions", "parameters"),
                f"policy {shorten(other)} allows {shorten(covered.action_id)} whatever its parameters, so this condition "
                "restricts nothing there; narrow that policy, or deny what must not pass",
            )


def untyped_conditions(atlas: Atlas) -> Iterator[Finding]:
    """`untyped_condition`: a parameter condition that a value of another type would slip past."""
    for policy, path in _declared(atlas):
        condition = policy.conditions.parameters
        if condition is None:
            continue
        documents = [_document(action.parameters_schema) for action in _covered(policy, atlas)] or [None]
        pointers = dict.fromkeys(
            place for document in documents for place in untyped_properties(condition.document, document)
        )
        for place in pointers:
            yield Finding(
                "untyped_condition",
                pointer(path, "conditions", "parameters") + place,
                "neither the condition nor the action's parameters_schema gives this property a type, and a value of another "
                'type satisfies the condition; add a "type"',
            )


def unknown_parameters(atlas: Atlas) -> Iterator[Finding]:
    """`unknown_parameter`: a parameter condition on a property that the schema of no action under the policy names."""
    for policy, path in _declared(atlas):
        condition = policy.conditions.parameters
        documents = [_document(action.parameters_schema) for action in _covered(policy, atlas)]
        if condition is None or not documents:
            continue
        known: set[str] = set()
        for document in documents:
            if document is None or "properties" not in document or not _NAMES_ELSEWHERE.isdisjoint(document):
                break  # it may have any
            known |= document["properties"].keys()
        else:
            path = pointer(path, "conditions", "parameters")
            for place, name in _parameter_names(condition.document):
                if name not in known:
                    yield Finding(
                        "unknown_parameter",
                        path + place,
                        f"no action that this policy is about has a parameter {shorten(name)}, so nothing is checked here; "
                        "correct the name",
                    )


def _parameter_names(condition: Document) -> Iterator[tuple[str, str]]:
    """The parameters that a condition speaks of, each with its pointer; not what is inside of them."""
    for steps, schema in subschemas(condition):
        if all(isinstance(step, int) or step in _SAME_VALUE for step in steps):
            for name in schema.get("properties", ()):
                yield pointer("", *steps, "properties", name), name
            for number, name in enumerate(schema.get("required", ())):
                yield pointer("", *steps, "required", number), name


def unchecked_schema_parts(atlas: Atlas) -> Iterator[Finding]:
    """`unknown_keyword` and `unknown_format`: parts of an action's schema that JSON Schema 2020-12 does not define."""
    for index, action in enumerate(atlas.actions):
        if action.parameters_schema is not None:
            yield from _unchecked(action.parameters_schema.document, pointer("", "actions", index, "parameters_schema"))
        if action.returns_schema is not None:
            yield from _unchecked(action.returns_schema.document, pointer("", "actions", index, "returns_schema"))


def _unchecked(document: Document, path: str) -> Iterator[Finding]:
    advice = "is not known to JSON Schema 2020-12, so it checks nothing; remove or correct it"
    for keyword in unknown_keywords(document):
        yield Finding("unknown_keyword", path + keyword, f"this keyword {advice}")
    for steps, schema in subschemas(document):
        if "format" in schema and not _format_known(schema["format"]):
            yield Finding("unknown_format", pointer(path, *steps, "format"), f"this format {advice}")


def _format_known(name: str) -> bool:
    try:
        Schema({"format": name}, strict=True)
    except SchemaProblem:
        return False
    return True


ALL_CHECKS = (
    no_allow_policy,
    unmatched_patterns,
    unknown_capabilities,
    unknown_references,
    redundant_allow_conditions,
    untyped_conditions,
    unknown_parameters,
    unchecked_schema_parts,
)


def _declared(atlas: Atlas) -> Iterator[tuple[Policy, str]]:
    """The policies that stand in the manifest, with their pointers; those of the actions' own limits follow them."""
    for policy in atlas.policies[: len(atlas.manifest.get("policies", ()))]:
        yield policy, pointer("", "policies", policy.index)


def _all_conditions(atlas: Atlas) -> Iterator[tuple[Conditions, str]]:
    for policy, path in _declared(atlas):
        yield policy.conditions, pointer(path, "conditions")
    packs = {pack["pack_id"]: index for index, pack in enumerate(atlas.manifest.get("context_packs", ()))}
    inline = {block["context_id"]: index for index, block in enumerate(atlas.manifest.get("context_blocks", ()))}
    reported: set[str] = set()
    for block in atlas.context_blocks:
        if block.pack_id is None:
            yield block.conditions, pointer("", "context_blocks", inline[block.block_id], "conditions")
        elif block.pack_id not in reported:
            reported.add(block.pack_id)
            yield block.conditions, pointer("", "context_packs", packs[block.pack_id], "conditions")


def _matching(glob: str, actions: tuple[Action, ...]) -> Iterator[Action]:
    from cra.hotpath import glob_match

    return (action for action in actions if glob_match(glob, action.action_id))


def _covered(policy: Policy, atlas: Atlas) -> Iterator[Action]:
    """The actions of the atlas that a policy is about, in declaration order."""
    from cra.hotpath import glob_match

    for action in atlas.actions:
        if policy.actions is None or any(glob_match(glob, action.action_id) for glob in policy.actions):
            yield action


def _missing(names: Iterable[str], known: set[str], path: str, kind: str) -> Iterator[Finding]:
    for number, name in enumerate(names):
        if name not in known:
            yield Finding(
                "unknown_reference",
                pointer(path, number),
                f"this atlas has no {kind} {shorten(name)}; correct it or remove it",
            )


def _document(schema: Schema | None) -> Document | None:
    return None if schema is None else schema.document
