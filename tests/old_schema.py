"""An index as an older AtlasLoop left it, for tests that open it with this one."""

from storage import database, projection


def before(patch, version):
    """Let no migration from ``version`` on happen, and no row have what those brought.

    The queue's rows of that time are left out: their line says more today.
    """
    shipped = database.migrations()
    patch.setattr(database, "migrations", lambda: [one for one in shipped if one.version < version])
    first = ',"removed_ml"' if version <= 6 else ',"pairwise_dice_least"'
    rows = projection._SCORE_ROWS.replace("\n", "").split(first)[0]
    patch.setattr(projection, "_SCORE_ROWS", rows + "}]")
    patch.setitem(projection._HANDLERS, "queue.ranked", projection._nothing)


def other_than_queue(findings):
    """The findings of a verification, but for the queue that was left out."""
    return [one for one in findings if "queue" not in one.place]
