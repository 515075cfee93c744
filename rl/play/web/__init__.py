"""The web page: ``server.py`` is its interface over HTTP, ``table.py`` a board game and ``show.py`` episodes going on.

A page opens a room (a table or a show), sends what its user does as requests, and is told of everything that happens
there over one WebSocket. A room works (searches, steps its environment) only while somebody looks, and holds neither
trees nor environments otherwise. What is shared: the agents, and a pool of as many threads as there are cores.
"""
