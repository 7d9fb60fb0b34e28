"""What a product is called: the identifiers of one acquisition, in the compact naming and in the long one before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Level = Literal["L1C", "L2A"]

LAUNCH = {"S2A": datetime(2015, 6, 23), "S2B": datetime(2017, 3, 7), "S2C": datetime(2024, 9, 5)}
"""When each spacecraft began its orbits."""


@dataclass(frozen=True)
class Identity:
    """One acquisition of one tile; every name and identifier in a product follows from it."""

    spacecraft: str
    """``S2A``, ``S2B`` or ``S2C``."""
    level: Level
    baseline: str
    """``05.11``; ``99.99`` for the user-made N9999."""
    orbit: int
    """Relative orbit, 1 to 143."""
    tile: str
    start: datetime
    """Start of the datatake, which names the product."""
    sensing: datetime
    """When the tile itself was seen, minutes later."""
    made: datetime
    """When the product was made: its discriminator."""
    station: str = "VGS4"
    """Ground station, four characters: two stations make two datastrips of one datatake."""

    @property
    def name(self) -> str:
        """Make the compact product name, without ``.SAFE``."""
        return (
            f"{self.spacecraft}_MSI{self.level}_{_stamp(self.start)}_N{self.baseline.replace('.', '')}"
            f"_R{self.orbit:03d}_{self.tile}_{_stamp(self.made)}"
        )

    @property
    def short_name(self) -> str:
        """Make the compact name without baseline, as on the Planetary Computer."""
        return self.name.replace(f"_N{self.baseline.replace('.', '')}", "")

    @property
    def old_name(self) -> str:
        """Make the long name of a product that may hold many tiles, without ``.SAFE``, as used to the end of 2016."""
        return f"{self.spacecraft}_OPER_PRD_MSI{self.level}_PDMC_{self._span}"

    @property
    def old_metadata(self) -> str:
        """Name the file of the main metadata of such a product."""
        return f"{self.spacecraft}_OPER_MTD_SAF{self.level}_PDMC_{self._span}.xml"

    @property
    def _span(self) -> str:
        """Make the end of a long name: when it was made, orbit, times of sensing."""
        stop = self.sensing + timedelta(minutes=1)
        return f"{_stamp(self.made)}_R{self.orbit:03d}_V{_stamp(self.start)}_{_stamp(stop)}"

    @property
    def absolute_orbit(self) -> int:
        """Compute a plausible absolute orbit: 14.3 turns a day since launch, in step with the relative one.

        S2A flies relative orbit (absolute + 2) mod 143 + 1 and S2B (absolute - 27) mod 143 + 1, as real metadata shows.
        """
        first = self.orbit + 26 if self.spacecraft == "S2B" else self.orbit - 3
        turns = (self.start - LAUNCH[self.spacecraft]).total_seconds() / 86400 * 14.3
        return first + 143 * max(1, round((turns - first) / 143))

    @property
    def datatake(self) -> str:
        """Make the identifier of the datatake, which ends in the baseline."""
        return f"G{self.spacecraft}_{_stamp(self.start)}_{self.absolute_orbit:06d}_N{self.baseline}"

    @property
    def datastrip(self) -> str:
        """Make the identifier of the datastrip."""
        return f"{self._owner('MSI', 'DS')}_S{_stamp(self.sensing)}_N{self.baseline}"

    @property
    def datastrip_folder(self) -> str:
        """Name the folder of the datastrip in the compact layout."""
        return f"DS_{self.station}_{_stamp(self.made)}_S{_stamp(self.sensing)}"

    @property
    def old_datastrip_metadata(self) -> str:
        """Name the file of the datastrip's metadata in the old layout."""
        return f"{self._owner('MTD', 'DS')}_S{_stamp(self.sensing)}.xml"

    @property
    def granule(self) -> str:
        """Make the identifier of the granule; in the old layout it names the folder too."""
        return f"{self._granule('MSI', 'TL')}_N{self.baseline}"

    @property
    def granule_folder(self) -> str:
        """Name the folder of the granule in the compact layout."""
        return f"{self.level}_{self.tile}_A{self.absolute_orbit:06d}_{_stamp(self.sensing)}"

    @property
    def old_granule_metadata(self) -> str:
        """Name the file of the granule's metadata in the old layout."""
        return f"{self._granule('MTD', 'TL')}.xml"

    @property
    def old_clouds(self) -> str:
        """Name the file of the cloud mask in the old layout."""
        return f"{self._granule('MSK', 'CLOUDS').replace('_L1C', '')}_B00_MSI{self.level}.gml"

    def image(self, band: str) -> str:
        """Name an image without suffix in the compact layout; ``band`` with its resolution for L2A."""
        return f"{self.tile}_{_stamp(self.start)}_{band}"

    def old_image(self, band: str) -> str:
        """Name an image without suffix in the old layout."""
        return f"{self._granule('MSI', 'TL')}_{band}"

    def _owner(self, kind: str, part: str) -> str:
        """Begin a long name: spacecraft, kind, level, part, station, when it was made."""
        return f"{self.spacecraft}_OPER_{kind}_{self.level}_{part}_{self.station}_{_stamp(self.made)}"

    def _granule(self, kind: str, part: str) -> str:
        """Make the long name of something of the granule."""
        return f"{self._owner(kind, part)}_A{self.absolute_orbit:06d}_{self.tile}"


def _stamp(time: datetime) -> str:
    """Write a time as names have it."""
    return f"{time:%Y%m%dT%H%M%S}"


def stamp(time: datetime) -> str:
    """Write a time as the XML has it, UTC to the millisecond."""
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"
