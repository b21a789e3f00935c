"""The assortment of the demo's shop: its shelves, and the words that name and describe its products."""

from dataclasses import dataclass

CURRENCY = "EUR"

BRANDS = {
    "Outdoor": ("Fjellvik", "North Cairn", "Ridgeline", "Tarnway", "Solstice"),
    "Kitchen": ("Ember & Oak", "Maison Brune", "Copperleaf", "Hearthwell", "Kessler"),
    "Home": ("Lumen House", "Nordhem", "Willow Lane", "Casa Lino", "Mossgreen"),
    "Electronics": ("Auralis", "Pixelworks", "Voltaire", "Hexa", "Quietwave"),
    "Hobby": ("Meeple & Sons", "Inkwell", "Cedar Strings", "Brightside", "Papermill"),
}


@dataclass(frozen=True)
class Shelf:
    """The products of one category. A product's name has a word of each list, such as "Merino Trail Socks"."""

    department: str
    category: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    nouns: tuple[str, ...]
    prices: tuple[float, float]
    use: tuple[str, ...]
    """Ends of the sentence "Made for ..."."""

    @property
    def path(self) -> tuple[str, str]:
        """The category path, the widest category first."""
        return self.department, self.category


def _shelf(path: str, first: str, second: str, nouns: str, prices: tuple[float, float], use: str) -> Shelf:
    department, category = path.split(" > ")
    lists = [tuple(words.split(", ")) for words in (first, second, nouns)]
    return Shelf(department, category, lists[0], lists[1], lists[2], prices, tuple(use.split(", ")))


SHELVES = (
    _shelf(
        "Outdoor > Hiking",
        "Merino, Ripstop, Waxed, Light, Storm, Alpine",
        "Trail, Summit, Ridge, Valley, Pass",
        "Socks, Boots, Trousers, Shell Jacket, Daypack, Poles, Gaiters",
        (14, 240),
        "long days above the tree line, wet autumn paths, hut-to-hut tours",
    ),
    _shelf(
        "Outdoor > Camping",
        "Down, Titanium, Compact, Three-Season, Canvas, Feather",
        "Base Camp, Bivouac, Lakeside, Nomad, Starlight",
        "Tent, Sleeping Bag, Stove, Lantern, Hammock, Sleeping Mat, Mug",
        (18, 420),
        "nights under clear skies, festival fields, a week by the lake",
    ),
    _shelf(
        "Outdoor > Running",
        "Seamless, Carbon, Breathable, Reflective, Cushioned, Airy",
        "Tempo, Marathon, Dawn, Sprint, Long Run",
        "Shoes, Shorts, Singlet, Tights, Cap, Hydration Belt, Windbreaker",
        (16, 190),
        "the last ten kilometres, dark winter mornings, a new personal best",
    ),
    _shelf(
        "Outdoor > Cycling",
        "Aero, Gravel, Tubeless, Padded, Featherweight, Waterproof",
        "Peloton, Commuter, Col, Velodrome, Backroad",
        "Helmet, Jersey, Bib Shorts, Gloves, Pannier, Tyres, Headlight",
        (22, 260),
        "the daily commute, gravel and mud, a hundred kilometres before lunch",
    ),
    _shelf(
        "Kitchen > Cookware",
        "Cast-Iron, Copper, Enamelled, Carbon-Steel, Tri-Ply, Hammered",
        "Bistro, Farmhouse, Chef's, Sunday, Provence",
        "Skillet, Saucepan, Casserole, Wok, Grill Pan, Stockpot, Roasting Tin",
        (29, 320),
        "slow Sunday roasts, a hard sear, every kind of hob",
    ),
    _shelf(
        "Kitchen > Coffee & Tea",
        "Burr, Gooseneck, Double-Wall, Stovetop, Porcelain, Slow-Drip",
        "Barista, Kyoto, Morning, Roastery, Milano",
        "Grinder, Kettle, Dripper, Espresso Maker, Teapot, Milk Frother, Cups",
        (15, 380),
        "the first cup of the day, single-origin beans, long afternoons with a book",
    ),
    _shelf(
        "Kitchen > Baking",
        "Banneton, Non-Stick, Beechwood, Silicone, Perforated, Fluted",
        "Sourdough, Patisserie, Grandma's, Crumb, Boulanger",
        "Proofing Basket, Loaf Tin, Rolling Pin, Baking Mat, Cake Ring, Dough Knife, Tart Tin",
        (9, 85),
        "crackling crusts, birthdays, batches that all come out alike",
    ),
    _shelf(
        "Home > Lighting",
        "Brass, Opal, Rattan, Dimmable, Smoked-Glass, Linen",
        "Halo, Arc, Harbour, Mushroom, Atelier",
        "Floor Lamp, Pendant, Desk Lamp, Wall Light, Table Lamp, Lampshade, Bulb Set",
        (19, 290),
        "reading corners, a warm hallway, dinners that go on late",
    ),
    _shelf(
        "Home > Bedding",
        "Washed-Linen, Percale, Sateen, Goose-Down, Bamboo, Quilted",
        "Cloud, Dune, Lagoon, Nightfall, Orchard",
        "Duvet Cover, Pillowcase, Fitted Sheet, Throw, Pillow, Bedspread, Duvet",
        (24, 260),
        "hot sleepers, cold bedrooms, long weekends in bed",
    ),
    _shelf(
        "Home > Garden",
        "Terracotta, Galvanised, Ash-Handled, Forged, Self-Watering, Cedar",
        "Cottage, Balcony, Greenhouse, Potting Shed, Meadow",
        "Planter, Watering Can, Trowel, Pruners, Raised Bed, Bird Feeder, Hose Reel",
        (11, 180),
        "small balconies, heavy clay, tomatoes worth the wait",
    ),
    _shelf(
        "Electronics > Audio",
        "Wireless, Planar, Noise-Cancelling, Open-Back, Portable, Bluetooth",
        "Studio, Resonance, Encore, Nocturne, Live",
        "Headphones, Earbuds, Speaker, Soundbar, Turntable, DAC, Microphone",
        (39, 590),
        "loud trains, late-night mixing, records from end to end",
    ),
    _shelf(
        "Electronics > Photo",
        "Mirrorless, Anamorphic, Instant, Full-Frame, Magnetic, Travel",
        "Aperture, Golden Hour, Focal, Reporter, Chroma",
        "Camera, Prime Lens, Tripod, Camera Strap, Filter Set, Flash, Camera Bag",
        (25, 980),
        "the hour before sunset, street corners, families that won't stand still",
    ),
    _shelf(
        "Electronics > Desk",
        "Mechanical, Ergonomic, Silent, Curved, Low-Profile, USB-C",
        "Focus, Workshop, Console, Vertex, Homebase",
        "Keyboard, Mouse, Monitor, Docking Station, Webcam, Laptop Stand, Desk Mat",
        (24, 620),
        "deep work, tidy desks, days full of calls",
    ),
    _shelf(
        "Hobby > Board Games",
        "Cooperative, Strategic, Wooden, Legacy, Two-Player, Family",
        "Dragon, Harbour Town, Expedition, Merchant, Clockwork",
        "Board Game, Card Game, Dice Game, Puzzle, Expansion, Party Game, Tile Game",
        (12, 95),
        "rainy evenings, players who hate to lose, the whole family",
    ),
    _shelf(
        "Hobby > Art Supplies",
        "Pigment, Gouache, Cold-Pressed, Sable, Watercolour, Charcoal",
        "Plein Air, Sketcher's, Studio, Botanical, Portrait",
        "Brush Set, Paint Box, Sketchbook, Pencils, Easel, Ink Pens, Paper Block",
        (8, 140),
        "quick studies outdoors, large formats, patient layers",
    ),
    _shelf(
        "Hobby > Music",
        "Spruce, Mahogany, Nylon-String, Weighted, Handmade, Vintage",
        "Folk, Parlour, Blues, Concert, Busker",
        "Guitar, Ukulele, Stage Piano, Banjo, Cajón, Harmonica, Guitar Amp",
        (25, 890),
        "first chords, open-mic nights, practice in a flat with thin walls",
    ),
)
