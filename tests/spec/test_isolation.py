"""No sequence of requests shows a DiGA anything outside its grant (areas OBS, DEV and SCO)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, rule, run_state_machine_as_test

from ddr.scopes.parse import granted
from tests.spec.world import BG, BP, CGM, HOUR, LF, MINUTE, Home, Json, Reader, Scene, entries, link, paired, refused
from tests.support.recorder import Recorder

T = TypeVar("T")
TYPES = ("Observation", "Device", "DeviceMetric")
CODES = {"2339-0": BG, "15074-8": BG, "85354-9": BP, "99504-3": CGM, "19935-6": LF}
CODES |= {"20150-9": LF, "20149-1": LF, "20152-5": LF}
# Which reader sees whose data: patient, MIVs, and resource types beside Observation.
GRANTS = (
    (0, (BG, BP, CGM, LF), ("Device", "DeviceMetric")),
    (0, (BG,), ("Device", "DeviceMetric")),
    (0, (CGM, LF), ("Device",)),
    (1, (BG, BP, CGM, LF), ("Device", "DeviceMetric")),
    (1, (BP, CGM), ("DeviceMetric",)),
    (2, (BG, LF), ()),
)


@dataclass
class Player:
    """A reader and its grant."""

    reader: Reader
    patient: int
    mivs: frozenset[str]
    types: tuple[str, ...]


@dataclass
class Cast:
    """Patients with their devices, readers with their grants, and what belongs to whom."""

    homes: list[Home]
    players: list[Player]
    loop: asyncio.AbstractEventLoop
    owner: dict[str, tuple[int, str, str]]  # id → patient, MIV, resource type
    withdrawn: set[tuple[int, str]] = field(default_factory=set)  # player and MIV
    sent: int = 0

    def __post_init__(self) -> None:
        self.ids = sorted(
            self.owner
        )  # the ids that walks request; those that walks add are not among them, so that walks can be repeated

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, done in the recorder's event loop while this thread waits."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def allowed(self, number: int) -> set[str]:
        """The ids that a player may see as resources now."""
        player = self.players[number]
        mivs = {miv for miv in player.mivs if (number, miv) not in self.withdrawn}
        return {
            logical_id
            for logical_id, (patient, miv, kind) in self.owner.items()
            if patient == player.patient and miv in mivs and kind in ("Observation", *player.types)
        }

    def mentioned(self, number: int) -> set[str]:
        """The ids that may appear as references, including those of devices, whatever their scopes."""
        everything = replace(self.players[number], types=TYPES)
        return replace(self, players=[*self.players[:number], everything]).allowed(number)

    def check(self, number: int, response: httpx.Response) -> Json | None:
        """Fail when the response shows anything outside the grant; returns the resource of a success."""
        assert response.status_code in (200, 400, 404, 410), response.text
        content: Json = response.json()
        if response.status_code != 200:
            assert content["resourceType"] == "OperationOutcome"
            return None
        bundle = content["resourceType"] == "Bundle"
        shown = [entry["resource"] for entry in content.get("entry", ())] if bundle else [content]
        resources = [resource for resource in shown if resource["resourceType"] in TYPES]
        assert {resource["id"] for resource in resources} <= self.allowed(number)
        text = "".join(map(str, resources))
        assert not [each for each in self.owner.keys() - self.mentioned(number) if each in text]
        return content


async def gather(homes: list[Home]) -> dict[str, tuple[int, str, str]]:
    """Everything that the patients have, as seen by a DiGA with every scope."""
    owner: dict[str, tuple[int, str, str]] = {}
    for number, home in enumerate(homes):
        reader = await paired(home.ddr, home.patient)
        every = "_include=Observation:device&_include:iterate=DeviceMetric:source"
        for code, miv in CODES.items():
            bundle = await reader.search(f"Observation?code={code}&{every}")
            for resource in entries(bundle) + entries(bundle, "include"):
                owner[resource["id"]] = (number, miv, resource["resourceType"])
    return owner


async def player(home: Home, patient: int, mivs: tuple[str, ...], types: tuple[str, ...]) -> Player:
    """A DiGA paired for these MIVs and resource types."""
    ddr = home.ddr
    reader = await paired(ddr, home.patient, *mivs)
    if len(types) < 2:  # fewer scopes than Recorder.pair requests: a refresh that asks for less grants them
        wanted = [scope for scope in reader.tokens.scopes if "Observation" in scope]
        wanted += [f"patient/{kind}.rs" for kind in types]
        form = {"grant_type": "refresh_token", "refresh_token": reader.tokens.refresh_token, "scope": " ".join(wanted)}
        endpoint = (await reader.diga.client.metadata())["token_endpoint"]
        answer = await reader.diga.http.post(endpoint, data={"client_id": reader.diga.entry.client_id, **form})
        assert answer.status_code == 200, answer.text
        assert granted(answer.json()["scope"]) == granted(" ".join(wanted))
        reader.tokens = replace(reader.tokens, access_token=answer.json()["access_token"])
    return Player(reader, patient, frozenset(mivs), types)


@pytest.fixture(scope="module")
async def cast(ddr: Recorder) -> Cast:
    """Three patients with data of all MIVs, six readers with different grants."""
    homes = [await Home(ddr, await ddr.patient()).furnish() for _ in range(3)]
    for home in homes:
        calibration = {"state": "calibrated", "time": home.ago(HOUR)}
        await home.device("strips")
        await home.sensor("strips", "2339-0", "mg/dL", calibration=calibration)
        await home.glucose("bg-strips", ddr.clock() - MINUTE, device="strips", sensor="s")
    players = [await player(homes[grant[0]], *grant) for grant in GRANTS]
    return Cast(homes, players, asyncio.get_running_loop(), await gather(homes))


PLAYERS = st.integers(0, len(GRANTS) - 1)
PICKS = st.integers(0, 10_000)
KINDS = st.sampled_from(TYPES)
# {id} is any id of any patient.
CONTROLS = st.lists(
    st.sampled_from(
        [
            "_include=Observation:device",
            "_include:iterate=DeviceMetric:source",
            "_include=DeviceMetric:source",
            "_include=Observation:derived-from",
            "_include=*",
            "_revinclude=Observation:device",
            "_revinclude=DeviceMetric:source",
            "_revinclude=Observation:derived-from",
            "_has:Observation:device:code=2339-0,99504-3,85354-9",
            "_has:DeviceMetric:source:_id={id}",
            "_has:Observation:device:_id={id}",
            "_id={id}",
            "device={id}",
            "source={id}",
            "derived-from={id}",
            "code=2339-0,15074-8,85354-9,99504-3,19935-6,20150-9,20149-1,20152-5",
            "date=ge2020",
            "status=active,final,preliminary",
            "_count=1",
            "_count=2&_sort=-_lastUpdated",
        ]
    ),
    max_size=4,
)


class Isolation(RuleBasedStateMachine):
    """Any reader requests anything, with ids and links that others received."""

    cast: ClassVar[Cast]
    links = Bundle("links")

    @rule(number=PLAYERS, kind=KINDS, pick=PICKS, version=st.sampled_from(["", "/_history/1", "/_history/2"]))
    def read(self, number: int, kind: str, pick: int, version: str) -> None:
        """read and vread."""
        logical_id = self._id(pick)
        reader = self.cast.players[number].reader
        content = self.cast.check(number, self.cast.run(reader.get(f"{kind}/{logical_id}{version}")))
        own = self.cast.owner[logical_id][2] == kind and logical_id in self.cast.allowed(number)
        assert own or content is None
        assert version or not own or content is not None

    @rule(target=links, number=PLAYERS, kind=KINDS, controls=CONTROLS, pick=PICKS, by_post=st.booleans())
    def search(self, number: int, kind: str, controls: list[str], pick: int, by_post: bool) -> Any:
        """A search by GET or POST; returns the link to the next page, for any reader."""
        query = "&".join(controls).replace("{id}", self._id(pick))
        reader = self.cast.players[number].reader
        headers = {"content-type": "application/x-www-form-urlencoded"}
        work = (
            reader.post(f"{kind}/_search", content=query.encode(), headers=headers)
            if by_post
            else reader.get(f"{kind}?{query}")
        )
        content = self.cast.check(number, self.cast.run(work))
        url = content and link(content, "next")
        return url or multiple()

    @rule(target=links, number=PLAYERS, url=links)
    def follow(self, number: int, url: str) -> Any:
        """A link to a further page, whoever received it."""
        content = self.cast.check(number, self.cast.run(self.cast.players[number].reader.get(url)))
        following = content and link(content, "next")
        return following or multiple()

    @rule(patient=st.integers(0, 2), again=st.booleans())
    def measure(self, patient: int, again: bool) -> None:
        """The patient measures, or corrects, with a device of its own."""
        home = self.cast.homes[patient]
        self.cast.sent += 1
        key = "bg-new" if again else f"walk-{self.cast.sent}"
        at_ms = home.ddr.clock() - self.cast.sent * MINUTE
        logical_id = self.cast.run(home.glucose(key, at_ms, 90 + self.cast.sent % 100))
        self.cast.owner[logical_id] = (patient, BG, "Observation")

    @rule(number=PLAYERS, miv=st.sampled_from([BG, BP, CGM, LF]))
    def withdraw_or_restore(self, number: int, miv: str) -> None:
        """BfArM withdraws a MIV from the DiGA, or gives it back."""
        self.cast.withdrawn ^= {(number, miv)}
        player = self.cast.players[number]
        mivs = {each for each in player.mivs if (number, each) not in self.cast.withdrawn}
        ddr, entry = player.reader.ddr, player.reader.diga.entry
        valuesets = frozenset(each.valueset for each in ddr.core.catalog.mivs if each.name in mivs)
        ddr.trust.digas[entry.client_id] = replace(entry, valuesets=valuesets)

    def teardown(self) -> None:
        """Give back what was withdrawn."""
        self.cast.withdrawn.clear()
        for player in self.cast.players:
            entry = player.reader.diga.entry
            player.reader.ddr.trust.digas[entry.client_id] = entry

    def _id(self, pick: int) -> str:
        return self.cast.ids[pick % len(self.cast.ids)]


WALKS = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@pytest.mark.requirement("OBS-003", "DEV-002", "DEV-003", "SCO-001", "SCO-005", "SCO-006", "SCO-008", "SCO-010")
async def test_no_sequence_of_requests_leaves_the_grant(cast: Cast) -> None:
    Isolation.cast = cast
    await asyncio.to_thread(run_state_machine_as_test, Isolation, settings=WALKS)


async def requests(reader: Reader) -> list[tuple[str, str]]:
    """One request of every kind that shows data of the reader's patient: method and path."""
    following = link(await reader.search("Observation?_count=1"), "next")
    assert following is not None
    found = [("GET", following)]
    for kind in TYPES:
        found += [("GET", kind), ("POST", f"{kind}/_search")]
        found += [("GET", f"{kind}?_include=*&_revinclude=Observation:device")]
        for logical_id in await reader.ids(kind):
            path = f"{kind}/{logical_id}"
            found += [("GET", path), ("GET", f"{path}/_history/1"), ("GET", f"{kind}?_id={logical_id}")]
    return found


@pytest.mark.requirement("OBS-003", "DEV-002", "DEV-003", "SCO-001", "SCO-009")
async def test_a_second_patients_token_sees_nothing_of_the_first(ddr: Recorder, scene: Scene) -> None:
    other = await paired(ddr, await ddr.patient())
    first = set(scene.home.ids.values())
    for method, path in await requests(scene.reader):
        response = await other.send(method, path)
        searched = "?_page" not in path and ("?" in path or "_search" in path or path in TYPES)
        assert response.status_code == (200 if searched else 400 if "?_page" in path else 404)
        if searched:
            assert entries(response.json()) == []
        assert not [each for each in first if each in response.text and each not in path]


@pytest.mark.requirement("SCO-009", "SCO-001", "RS-021")
async def test_a_diga_without_consent_sees_nothing(ddr: Recorder, scene: Scene) -> None:
    """With its own certificate: without a token, with the first DiGA's, and with its own one after the pairing."""
    reader = await paired(ddr, scene.home.patient)
    own = await requests(reader)
    await reader.diga.client.revoke(reader.tokens)
    ended, foreign = reader.tokens.access_token, scene.reader.tokens.access_token
    asked = [(request, None) for request in own] + [(request, ended) for request in own]
    asked += [(request, foreign) for request in await requests(scene.reader)]
    for (method, path), token in asked:
        url = path if path.startswith("https://") else f"{ddr.settings.fhir_base}/{path}"
        headers = {"authorization": f"Bearer {token}"} if token else {}
        refused(await reader.diga.http.request(method, url, headers=headers), 401, "login")
