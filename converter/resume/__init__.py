"""The optimizer's vectors for the trainer that goes on: their order and scale."""
