import threading

from review_app.bounded_cache import BoundedCache


def test_what_was_used_longest_ago_is_forgotten_first():
    cache = BoundedCache(2, lambda value: 1)
    made = []

    def make(name):
        return lambda: made.append(name) or name

    for name in "abacab":
        cache.get(name, make(name))

    assert made == ["a", "b", "c", "b"]


def test_one_value_stays_even_when_it_weighs_more_than_the_limit():
    cache = BoundedCache(10, len)

    cache.get("small", lambda: "x")
    cache.get("large", lambda: "x" * 50)

    assert cache.weight == 50


def test_threads_that_ask_at_once_share_one_value():
    cache = BoundedCache(2, lambda value: 1)
    made = []
    barrier = threading.Barrier(4)

    def ask():
        barrier.wait()
        cache.get("a", lambda: made.append(1) or "a")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert made == [1]
