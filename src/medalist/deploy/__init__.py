"""Exported networks in a service: NumPy and onnxruntime, no torch, no pandas. `medalist export` writes the folder.

from medalist.deploy import Deployed
networks = Deployed.open("exported")
networks.predict(image)  # uint8[H, W, 3]
"""

from medalist.deploy.deployed import Deployed

__all__ = ["Deployed"]
