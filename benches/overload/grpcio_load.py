"""An open loop of requests by grpcio, as its users set it up: one channel, round robin over a static list of servers, and
gRPC's own retry policy. Arrivals are a Poisson process from a seed, whatever became of earlier requests.

Writes one JSON line a job: `at` (when it was to leave, seconds from the start), `late` (how much later it left), `took`
(seconds from then to its end) and `code`. The last line has `cpu`, the processor seconds of this process under load.
"""

import argparse
import json
import random
import resource
import struct
import threading
import time

import grpc

METHOD = "/sortie.v1.EncoderService/Rerank"

# The most that gRPC allows, and the shortest first pause that documents recommend for interactive calls.
RETRIES = {
    "maxAttempts": 5,
    "initialBackoff": "0.01s",
    "maxBackoff": "0.1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE"],
}


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", required=True, help="host:port, separated by commas")
    parser.add_argument("--bodies", required=True, help="requests, each after its length in four bytes, little-endian")
    parser.add_argument("--phases", required=True, help="jobs a second:seconds, separated by commas")
    parser.add_argument("--deadline", type=float, required=True, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tenant", default="")
    parser.add_argument("--out", required=True)
    return parser.parse_args()


def read_bodies(path):
    with open(path, "rb") as file:
        data = file.read()
    bodies, place = [], 0
    while place < len(data):
        (size,) = struct.unpack_from("<I", data, place)
        bodies.append(data[place + 4 : place + 4 + size])
        place += 4 + size
    return bodies


def moments(phases, seed):
    """When jobs are to leave, in seconds from the start."""
    chance, at, end = random.Random(seed), 0.0, 0.0
    for phase in phases.split(","):
        rate, seconds = map(float, phase.split(":"))
        at, end = max(at, end), end + seconds
        while True:
            at += chance.expovariate(rate)
            if at >= end:
                break
            yield at


def connect(servers):
    policy = {"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [{"name": [{}], "retryPolicy": RETRIES}]}
    # Of a list gRPC makes an authority of its own, with which every call failed before it reached a server.
    authority = ("grpc.default_authority", servers.split(",")[0])
    options = [("grpc.service_config", json.dumps(policy)), ("grpc.enable_retries", 1), authority]
    channel = grpc.insecure_channel("ipv4:" + servers, options=options)
    grpc.channel_ready_future(channel).result(timeout=10)
    return channel


def main():
    args = arguments()
    bodies, plan = read_bodies(args.bodies), list(moments(args.phases, args.seed))
    metadata = (("sortie-tenant", args.tenant),) if args.tenant else ()
    ended, left, over = [], [len(plan)], threading.Condition()

    def note(at, sent, future):
        took = time.monotonic() - sent
        code = future.code().name
        with over:
            ended.append((at, sent, took, code))
            left[0] -= 1
            if left[0] == 0:
                over.notify()

    with connect(args.servers) as channel:
        # Bytes go out as they are.
        rerank = channel.unary_unary(METHOD)
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.monotonic() + 0.05
        for number, at in enumerate(plan):
            pause = start + at - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            sent = time.monotonic()
            future = rerank.future(bodies[number % len(bodies)], timeout=args.deadline, metadata=metadata)
            future.add_done_callback(lambda done, at=at, sent=sent: note(at, sent, done))
        with over:
            # Each ends by its deadline at the latest.
            over.wait_for(lambda: left[0] == 0, timeout=args.deadline + 10)
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with open(args.out, "w") as out:
        for at, sent, took, code in sorted(ended):
            line = {"at": round(at, 6), "late": round(sent - start - at, 6), "took": round(took, 6), "code": code}
            out.write(json.dumps(line) + "\n")
        out.write(json.dumps({"cpu": round(cpu, 6), "unended": left[0]}) + "\n")


if __name__ == "__main__":
    main()
