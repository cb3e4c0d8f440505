import logging

from processor.noise import Quiet


def line(name: str, text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, text, args, None)


def test_of_a_kafka_clients_complaints_one_of_each_kind_passes():
    quiet = Quiet()
    passed = [quiet.filter(line("aiokafka.cluster", "no answer from %s", n)) for n in range(50)]
    assert passed == [True] + [False] * 49
    assert quiet.filter(line("aiokafka.cluster", "something else"))
    assert quiet.filter(line("aiokafka.client", "no answer from %s", 1))


def test_our_own_lines_all_pass():
    quiet = Quiet()
    assert all(quiet.filter(line("processor.worker", "again")) for _ in range(5))
