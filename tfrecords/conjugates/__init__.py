"""Conjugates: clips of the same scene without the action.

before_after    another span of the same shot
remove_person   the clip itself, the actor removed and the hole filled
erase           the same of a photograph: one picture, of which nothing else is known
frozen_frame    the clip's first frame, repeated: the person stays, the motion goes
"""
